"""Columns in a text file: CSV, and its cousins with semicolons and tabs."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from trainguard.replay.errors import LogUnreadable
from trainguard.replay.numbers import number
from trainguard.replay.readers.base import LogReader, Record
from trainguard.replay.readers.opening import lines_of

_DELIMITERS = (",", ";", "\t")


class CommaSeparated(LogReader):
    """A header line with names, then a row per step; empty cells were not measured.

    Rows that repeat the header (a restarted run that appends to its file) and lines that begin with ``#`` are
    passed over.
    """

    name: ClassVar[str] = "CSV"
    patterns: ClassVar[tuple[str, ...]] = ("*.csv", "*.csv.gz", "*.tsv", "*.tsv.gz")

    def suits(self, path: Path, head: bytes) -> bool:
        """See `LogReader.suits`."""
        if b"\0" in head or head.lstrip()[:1] in (b"{", b"["):
            return False
        return (
            any(pattern[1:].rstrip("*") in path.name.lower() for pattern in self.patterns) or len(self.header(head)) > 1
        )

    def header(self, head: bytes) -> list[str]:
        """The names in the first line that is no comment; empty where it is no header."""
        for line in head.decode("utf-8-sig", errors="replace").splitlines():
            if line.strip() and not line.startswith("#"):
                return next(csv.reader([line], delimiter=_delimiter(line)), [])
        return []

    def records(self, path: Path) -> Iterator[Record]:
        """See `LogReader.records`."""
        lines = (line.replace("\0", "") for line in lines_of(path))
        names: list[str] = []
        skipped = 0
        for line in lines:
            skipped += 1
            if line.strip() and not line.startswith("#"):
                delimiter = _delimiter(line)
                names = [name.strip() for name in next(csv.reader([line], delimiter=delimiter))]
                break
        if not names:
            raise LogUnreadable(path, "it holds no header; its first line must name the columns, as in step,loss")
        if all(_is_number(name) for name in names):
            why = "the first line holds numbers, not names; put a header above it, as in step,loss,grad_norm,lr"
            raise LogUnreadable(path, why, f"line {skipped}")
        rows = csv.reader(lines, delimiter=delimiter)
        try:
            for row in rows:
                if not row or row[0].startswith("#") or (row[0] == names[0] and row == names):
                    continue
                if len(row) > len(names) and any(cell.strip() for cell in row[len(names) :]):
                    why = f"it has {len(row)} cells for {len(names)} columns; correct the line or the header"
                    raise LogUnreadable(path, why, f"line {skipped + rows.line_num}")
                yield Record(skipped + rows.line_num, dict(zip(names, row)))
        except csv.Error as error:
            why = f"it is no CSV ({error}); correct the line"
            raise LogUnreadable(path, why, f"line {skipped + rows.line_num}") from None


def _delimiter(line: str) -> str:
    return max(_DELIMITERS, key=line.count)


def _is_number(name: str) -> bool:
    with suppress(ValueError):
        return number(name) is not None
    return False
