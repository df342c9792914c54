"""The ``metrics.csv`` of Lightning's CSVLogger: sparse rows, several for one step."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from trainguard.replay.readers.comma_separated import CommaSeparated


class LightningMetrics(CommaSeparated):
    """A CSV in which training, rates and evaluation of one step stand in rows of their own.

    Where a metric was logged both per step and per epoch, the step's is read: a mean over an epoch hides what
    is looked for.
    """

    name: ClassVar[str] = "Lightning metrics.csv"
    patterns: ClassVar[tuple[str, ...]] = ("metrics.csv", "metrics.csv.gz")
    preferred: ClassVar[tuple[str, ...]] = ("_step",)

    def suits(self, path: Path, head: bytes) -> bool:
        """See `LogReader.suits`."""
        if not super().suits(path, head):
            return False
        return path.name.startswith("metrics.csv") and {"epoch", "step"} <= set(self.header(head))
