"""TensorBoard's event files, every point of them, without TensorFlow or TensorBoard.

Format: TFRecord frames (length, its masked CRC32-C, the event, its CRC) of ``Event`` messages. The length's checksum
is verified, since a wrong length loses everything behind it; the event's own is not: in pure Python that would cost
more than all the rest, and an event that was damaged is no message any more.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Protocol

from trainguard.replay.errors import LogUnreadable
from trainguard.replay.readers.base import LogReader, Record
from trainguard.replay.readers.opening import opened
from trainguard.replay.readers.protobuf_fields import BYTES, FIXED32, VARINT, fields, signed

_LARGEST_EVENT = 256 * 1024 * 1024
_DT_FLOAT, _DT_DOUBLE = 1, 2


class TensorboardEvents(LogReader):
    """Scalars of ``events.out.tfevents.*``, written as simple values or as tensors of one element."""

    name: ClassVar[str] = "TensorBoard events"
    unit: ClassVar[str] = "event"
    is_split: ClassVar[bool] = True
    patterns: ClassVar[tuple[str, ...]] = ("events.out.tfevents.*", "*.tfevents", "*.tfevents.*")

    def suits(self, path: Path, head: bytes) -> bool:
        """See `LogReader.suits`."""
        return "tfevents" in path.name or (len(head) >= 12 and _length(head[:12]) is not None)

    def records(self, path: Path) -> Iterator[Record]:
        """See `LogReader.records`."""
        with opened(path) as file:
            for place, event in enumerate(_events(path, file), start=1):
                try:
                    yield from _scalars(place, event)
                except ValueError as error:
                    why = f"it holds {error}: no event of TensorBoard; is the file whole?"
                    raise LogUnreadable(path, why, f"event {place}") from None


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def _events(path: Path, file: _Readable) -> Iterator[bytes]:
    place = 0
    while len(header := file.read(12)) == 12:
        place += 1
        length = _length(header)
        if length is None:
            why = "it is no event file of TensorBoard" if place == 1 else "the file is damaged from there on"
            raise LogUnreadable(path, f"{why}; name another, or cut it off there", f"event {place}")
        event = file.read(length)
        if len(event) < length or len(file.read(4)) < 4:
            return
        yield event


def _length(header: bytes) -> int | None:
    length, expected = struct.unpack("<QI", header)
    return int(length) if length <= _LARGEST_EVENT and _masked_crc(header[:8]) == expected else None


def _scalars(place: int, event: bytes) -> Iterator[Record]:
    step, summary = 0, b""
    for number, kind, value in fields(event):
        if number == 2 and kind == VARINT and isinstance(value, int):
            step = signed(value)
        elif number == 5 and kind == BYTES and isinstance(value, bytes):
            summary = value
    for number, kind, value in fields(summary):
        if number != 1 or kind != BYTES or not isinstance(value, bytes):
            continue
        tag, scalar = _scalar(value)
        if scalar is not None:
            yield Record(place, {"step": step, tag: scalar})


def _scalar(value: bytes) -> tuple[str, float | None]:
    tag, scalar = "", None
    for number, kind, inner in fields(value):
        if not isinstance(inner, bytes):
            continue
        if number == 1 and kind == BYTES:
            tag = inner.decode("utf-8", errors="replace")
        elif number == 2 and kind == FIXED32:
            [scalar] = struct.unpack("<f", inner)
        elif number == 8 and kind == BYTES:
            scalar = _of_tensor(inner)
    return tag, scalar


def _of_tensor(tensor: bytes) -> float | None:
    """The only element of a float tensor; ``None`` for every other one."""
    kind_of_number, content, values = 0, b"", b""
    for number, kind, value in fields(tensor):
        if number == 1 and kind == VARINT and isinstance(value, int):
            kind_of_number = value
        elif number == 4 and isinstance(value, bytes):
            content = value
        elif number in (5, 6) and isinstance(value, bytes):
            values += value
    spelling = {_DT_FLOAT: "<f", _DT_DOUBLE: "<d"}.get(kind_of_number)
    raw = content or values
    if spelling is None or len(raw) != struct.calcsize(spelling):
        return None
    return float(struct.unpack(spelling, raw)[0])


def _table() -> tuple[int, ...]:
    """CRC32-C (Castagnoli), reflected polynomial 0x82F63B78, a byte at a time."""
    entries = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        entries.append(crc)
    return tuple(entries)


_CRC = _table()


def _masked_crc(content: bytes) -> int:
    """CRC32-C, turned by 15 bits and shifted, as TFRecord stores it."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
