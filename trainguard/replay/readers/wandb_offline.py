"""The ``run-*.wandb`` file that wandb writes, offline or not: LevelDB's log of protobuf records.

wandb's own reader of it is gone from its package. Format: seven bytes of header (``:W&B``, a magic number, a
version), then LevelDB log blocks of 32 KiB with chunks of one record, and in them messages of
``wandb_internal.proto``, of which only the history is wanted.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from trainguard.replay.errors import LogUnreadable
from trainguard.replay.readers.base import LogReader, Record
from trainguard.replay.readers.opening import opened
from trainguard.replay.readers.protobuf_fields import VARINT, fields, signed

_MAGIC = b":W&B"
_HEADER_BYTES = 7
_BLOCK_BYTES = 32 * 1024
_CHUNK_HEADER_BYTES = 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_HISTORY = 2


class WandbOffline(LogReader):
    """The history of a run. Nested keys become ``outer/inner``; ``_step`` is wandb's own count."""

    name: ClassVar[str] = "wandb offline file"
    unit: ClassVar[str] = "record"
    patterns: ClassVar[tuple[str, ...]] = ("run-*.wandb", "*.wandb")

    def suits(self, path: Path, head: bytes) -> bool:
        """See `LogReader.suits`."""
        return head.startswith(_MAGIC)

    def records(self, path: Path) -> Iterator[Record]:
        """See `LogReader.records`."""
        for place, record in enumerate(_log_records(path), start=1):
            try:
                for number, _, value in fields(record):
                    if number == _HISTORY and isinstance(value, bytes):
                        yield Record(place, _history(value))
            except ValueError as error:
                why = f"it holds {error}: no record of wandb; is the file whole?"
                raise LogUnreadable(path, why, f"record {place}") from None


def _log_records(path: Path) -> Iterator[bytes]:
    """Whole records, put together from their chunks; an end that was torn off is passed over."""
    parts: list[bytes] = []
    place = 1
    with opened(path) as file:
        # The first block begins with the file's own header.
        if len(file.read(_HEADER_BYTES)) < _HEADER_BYTES:
            return
        room = _BLOCK_BYTES - _HEADER_BYTES
        while block := file.read(room):
            room, at = _BLOCK_BYTES, 0
            while at + _CHUNK_HEADER_BYTES <= len(block):
                _, length, kind = struct.unpack_from("<IHB", block, at)
                at += _CHUNK_HEADER_BYTES
                if kind == 0 and length == 0:
                    break
                if not _FULL <= kind <= _LAST:
                    why = f"it has a chunk of the unknown kind {kind}; the file is damaged from there on"
                    raise LogUnreadable(path, why, f"record {place}")
                chunk = block[at : at + length]
                at += length
                if len(chunk) < length:
                    return
                parts.append(chunk)
                if kind in (_FULL, _LAST):
                    yield b"".join(parts)
                    parts.clear()
                    place += 1


def _history(message: bytes) -> dict[str, object]:
    cells: dict[str, object] = {}
    for number, _, value in fields(message):
        if number == 1 and isinstance(value, bytes):
            key, cell = _item(value)
            if isinstance(cell, (int, float, str)) and not isinstance(cell, bool):
                cells[key] = cell
        elif number == 2 and isinstance(value, bytes):
            for inner, kind, step in fields(value):
                if inner == 1 and kind == VARINT and isinstance(step, int):
                    cells.setdefault("_step", signed(step))
    return cells


def _item(message: bytes) -> tuple[str, object]:
    """A key with its value, which older files hold as JSON and newer ones may hold as a number."""
    names: list[str] = []
    cell: object = None
    for number, _, value in fields(message):
        if number in (1, 2) and isinstance(value, bytes):
            names.append(value.decode("utf-8", errors="replace"))
        elif number == 5 and isinstance(value, int):
            cell = value >> 1 ^ -(value & 1)
        elif number == 6 and isinstance(value, bytes):
            [cell] = struct.unpack("<d", value)
        elif number in (8, 16) and isinstance(value, bytes):
            try:
                cell = json.loads(value)
            except ValueError:
                cell = None
    return "/".join(names), cell
