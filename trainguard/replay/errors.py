"""What goes wrong with logs of others: always a sentence that names the file, the place and the remedy."""

from __future__ import annotations

from pathlib import Path


class LogUnreadable(Exception):
    """A log cannot be replayed. ``place`` is where in the file, such as ``line 17``; empty for the file as a whole.

    >>> str(LogUnreadable(Path("run.csv"), "loss is 'abc', which is no number; correct it", "line 17"))
    "run.csv, line 17: loss is 'abc', which is no number; correct it"
    """

    def __init__(self, path: Path, why: str, place: str = "") -> None:
        self.path = path
        self.place = place
        self.why = why
        super().__init__(f"{path}{', ' if place else ''}{place}: {why}")
