"""What nobody has receipted yet, on disk: bounded, checksummed, and there again after ``kill -9``.

A folder of segments ``00000001.spool``, written in order and removed when all of their envelopes were receipted.
Every line is ``crc32 JSON``, the checksum in eight hexadecimal digits over the JSON's bytes; the first line of a
segment is the run's description, every other one an envelope, with the sender and the sequence it was packed with.
So an envelope that is sent again by a later process is the same one to the service, which records it once.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar
from uuid import uuid4

from pydantic import ValidationError

from client_hook.delivery.packing import FIELDS
from client_hook.durable_file import fsync_folder, remove_leftovers, write_durably
from trainguard.wire import Envelope, RunDescription, WireModel

M = TypeVar("M", bound=WireModel)

SUFFIX = ".spool"
MAX_BYTES = 64 * 1024 * 1024
"""Some 300,000 observations of ten signals."""
SEGMENT_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Spooled:
    """The oldest envelope that waits on disk, and the run it is of."""

    run: RunDescription
    envelope: Envelope


@dataclass
class _Segment:
    path: Path
    size_bytes: int
    read_to: int = 0
    """Everything before this offset was receipted."""


class Spool:
    """Used by one thread. Raises `OSError` where the disk refuses; nothing that was there before is lost by that.

    At ``max_bytes`` the *oldest observations* are dropped: their segment is written again with its other messages
    only (acknowledgements, findings, checkpoints…) and a note of how many went, which the service adds to the
    run's losses. ``observations_lost`` counts them for a person.
    """

    def __init__(
        self, folder: Path, run: RunDescription, *, max_bytes: int = MAX_BYTES, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self.observations_lost = 0
        """Dropped here, for want of room."""
        self.damaged = 0
        """Lines that could not be read: torn by a power cut, or changed by somebody."""
        self._folder = folder
        self._run = run
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._segments: list[_Segment] = []
        self._stripped: set[Path] = set()
        self._head: tuple[Spooled, int] | None = None
        if folder.is_dir():
            remove_leftovers(folder)
            self._segments = [_Segment(path, path.stat().st_size) for path in sorted(folder.glob(f"*{SUFFIX}"))]
        # A line that the last process was torn away from must not swallow the first of ours.
        self._writes_to: Path | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits here."""
        return not self._segments

    @property
    def size_bytes(self) -> int:
        """On disk."""
        return sum(segment.size_bytes for segment in self._segments)

    def append(self, envelope: Envelope) -> None:
        """Write behind everything that waits, and wait for the disk. It is there, or `OSError` is raised."""
        line = _line(envelope.model_dump_json().encode())
        segment = self._segment_for(len(line))
        try:
            with open(segment.path, "ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            # Half a line would be passed over at the reading, and with it the whole one that is written behind it.
            self._writes_to = None
            with open(segment.path, "ab") as file:
                file.truncate(segment.size_bytes)
            raise
        segment.size_bytes += len(line)
        self._make_room()

    def oldest(self) -> Spooled | None:
        """The envelope to send next; the same one until `delivered`."""
        while self._head is None and self._segments:
            segment = self._segments[0]
            for run, envelope, end in self._read(segment):
                self._head = Spooled(run, envelope), end
                break
            else:
                self._remove(segment)
        return None if self._head is None else self._head[0]

    def delivered(self) -> None:
        """What `oldest` gave is in the service's database, or will never be."""
        if self._head is None:
            return
        segment, end = self._segments[0], self._head[1]
        self._head = None
        segment.read_to = end
        if end >= segment.size_bytes:
            self._remove(segment)

    def _segment_for(self, size: int) -> _Segment:
        last = self._segments[-1] if self._segments else None
        if last is not None and last.path == self._writes_to and last.size_bytes + size <= self._segment_bytes:
            return last
        number = int(last.path.stem) + 1 if last is not None else 1
        self._folder.mkdir(exist_ok=True)
        path = self._folder / f"{number:08d}{SUFFIX}"
        self._segments.append(_Segment(path, _write(path, self._run, [])))
        self._writes_to = path
        return self._segments[-1]

    def _read(self, segment: _Segment) -> Iterator[tuple[RunDescription, Envelope, int]]:
        """What was not yet receipted, each with the offset behind it; what cannot be read is counted."""
        with open(segment.path, "rb") as file:
            run = _parsed(RunDescription, file.readline())
            if run is None:
                self.damaged += 1
                return
            if segment.read_to:
                file.seek(segment.read_to)
            for line in iter(file.readline, b""):
                envelope = _parsed(Envelope, line)
                if envelope is None:
                    self.damaged += 1
                else:
                    yield run, envelope, file.tell()

    def _remove(self, segment: _Segment) -> None:
        self._segments.remove(segment)
        self._stripped.discard(segment.path)
        if segment.path == self._writes_to:
            self._writes_to = None
        segment.path.unlink(missing_ok=True)
        fsync_folder(self._folder)

    def _make_room(self) -> None:
        for segment in list(self._segments[:-1]):
            if self.size_bytes <= self._max_bytes:
                return
            # The first one may be on its way right now, and must stay what it is.
            if segment.path not in self._stripped and (self._head is None or segment is not self._segments[0]):
                self._strip(segment)

    def _strip(self, segment: _Segment) -> None:
        """Write a segment again without its observations; where only their number is left, as that."""
        kept: list[bytes] = []
        lost, run, last = 0, self._run, None
        for described, envelope, _ in self._read(segment):
            run, last = described, envelope
            lost += sum(len(block.steps) for block in envelope.blocks)
            if any(getattr(envelope, field) for field in FIELDS.values()):
                kept.append(envelope.model_copy(update={"blocks": []}).model_dump_json().encode())
        if last is not None and lost:
            # A sender of its own, so that the service counts these losses once, whoever tells of them.
            note = last.model_copy(
                update={"sender": uuid4(), "sequence": 1, "observations_lost": lost, "blocks": []}
                | {field: [] for field in FIELDS.values()}
            )
            kept.append(note.model_dump_json().encode())
        segment.size_bytes, segment.read_to = _write(segment.path, run, kept), 0
        self._stripped.add(segment.path)
        self.observations_lost += lost


def read_spool(path: Path) -> Iterator[Envelope]:
    """The envelopes of one segment, in order; lines that are damaged are passed over."""
    with open(path, "rb") as file:
        file.readline()
        for line in file:
            envelope = _parsed(Envelope, line)
            if envelope is not None:
                yield envelope


def _write(path: Path, run: RunDescription, envelopes: Iterable[bytes]) -> int:
    """A whole segment at once; its size."""
    body = b"".join(_line(payload) for payload in (run.model_dump_json().encode(), *envelopes))

    def fill(file: BinaryIO) -> None:
        file.write(body)

    write_durably(path, fill)
    return len(body)


def _line(payload: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(payload), payload)


def _parsed(kind: type[M], line: bytes) -> M | None:
    checksum, _, payload = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(payload):
        return None
    try:
        return kind.model_validate_json(payload)
    except ValidationError:  # of a later version of the wire, or written by somebody else
        return None
