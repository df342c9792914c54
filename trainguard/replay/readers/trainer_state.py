"""The ``trainer_state.json`` that Hugging Face's Trainer writes into every checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from trainguard.replay.errors import LogUnreadable
from trainguard.replay.readers.base import LogReader, Record
from trainguard.replay.readers.json_lines import document_of, entries_of


class TrainerState(LogReader):
    """Its ``log_history``: training, evaluation, and one summary at the end, which is not a step of its own."""

    name: ClassVar[str] = "Hugging Face trainer_state.json"
    unit: ClassVar[str] = "entry"
    patterns: ClassVar[tuple[str, ...]] = ("trainer_state.json", "trainer_state.json.gz")

    def suits(self, path: Path, head: bytes) -> bool:
        """See `LogReader.suits`."""
        return head.lstrip()[:1] == b"{" and (path.name.startswith("trainer_state.json") or b'"log_history"' in head)

    def records(self, path: Path) -> Iterator[Record]:
        """See `LogReader.records`."""
        document = document_of(path)
        history = document.get("log_history") if isinstance(document, dict) else None
        if not isinstance(history, list):
            raise LogUnreadable(path, "it has no list 'log_history'; is it the file that the Trainer wrote?")
        for record in entries_of(path, history):
            if "train_runtime" not in record.cells:
                yield record
