"""Our own spool: what a trainer could not yet deliver, kept beside its checkpoints.

A line is eight hexadecimal digits of the payload's CRC-32, a space and the payload. The first payload of a file
describes the run, every other is an envelope; see ``client_hook.delivery.spool``, which the brain may not import.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from pydantic import ValidationError

from trainguard.replay.errors import LogUnreadable
from trainguard.replay.readers.base import LogReader, Record
from trainguard.replay.readers.opening import lines_of
from trainguard.wire import Envelope

_LINE = re.compile(rb"^[0-9a-f]{8} \{")


class Spool(LogReader):
    """Observations and evaluations of a run's envelopes. A damaged line is passed over, as the trainer does."""

    name: ClassVar[str] = "trainguard spool"
    patterns: ClassVar[tuple[str, ...]] = ("*.spool",)
    is_split: ClassVar[bool] = True
    names_are_ours: ClassVar[bool] = True

    def suits(self, path: Path, head: bytes) -> bool:
        """See `LogReader.suits`."""
        return _LINE.match(head) is not None

    def records(self, path: Path) -> Iterator[Record]:
        """See `LogReader.records`."""
        whole = 0
        for place, line in enumerate(lines_of(path), start=1):
            payload = _payload(line)
            if payload is None:
                continue
            whole += 1
            if whole == 1 and '"sequence"' not in payload:
                continue
            try:
                envelope = Envelope.model_validate_json(payload)
            except ValidationError as error:
                why = f"it is no envelope ({error.errors()[0]['msg']}); was it written by a newer trainguard?"
                raise LogUnreadable(path, why, f"line {place}") from None
            for block in envelope.blocks:
                for row in block.rows():
                    yield Record(place, {"step": row.step, **row.signals})
            for evaluation in envelope.evaluations:
                yield Record(place, {"step": evaluation.step, **evaluation.values})


def _payload(line: str) -> str | None:
    checksum, _, payload = line.rstrip("\n").partition(" ")
    try:
        return payload if zlib.crc32(payload.encode()) == int(checksum, 16) else None
    except ValueError:
        return None
