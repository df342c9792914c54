"""The shape of every reader of a past log."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple


class Record(NamedTuple):
    """What one place of a log says: cells by their columns' names, as they were found."""

    place: int
    """Number of the line, entry or record, from 1."""
    cells: Mapping[str, object]
    """Numbers, or text that spells one; what is no number matters only in a column that is read."""


class LogReader(ABC):
    """Reads one format. It knows files, not signals: which column is what is decided behind it.

    A reader raises `LogUnreadable` where the file is not what its format says, and passes over an end that was
    torn off: a killed process leaves one.
    """

    name: ClassVar[str]
    """What the format is called, in words for a person."""
    unit: ClassVar[str] = "line"
    """What a record's place counts."""
    patterns: ClassVar[tuple[str, ...]] = ()
    """Names that its files bear, as glob patterns: how they are found in a folder."""
    preferred: ClassVar[tuple[str, ...]] = ()
    """Endings of columns that go before others of the same meaning."""
    is_split: ClassVar[bool] = False
    """Whether the files of one folder, in the order of their names, are parts of one run."""
    names_are_ours: ClassVar[bool] = False
    """Whether every column bears a signal's own name, so that nothing is to be guessed."""

    @abstractmethod
    def suits(self, path: Path, head: bytes) -> bool:
        """Whether the file is of this format, by its name and its first bytes (decompressed)."""

    @abstractmethod
    def records(self, path: Path) -> Iterator[Record]:
        """The file's records in their order."""
