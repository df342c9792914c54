"""Columns in a text file: CSV, and its cousins with semicolons and tabs."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from trainguard.replay.errors import LogUnreadable
from trainguard.replay.numbers import number
from trainguard.replay.readers.base import LogReader, Record
from trainguard.replay.readers.opening import lines_of

_DELIMITERS = (",", ";", "\t")
_BROKEN_NUMBER = re.compile(r"^\s*(?:[+-]|[+-]?[\d.]+[eE][+-]?)$")
_DECIMAL_COMMA = re.compile(r"^\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*$")


class CommaSeparated(LogReader):
    """A header line with names, then a row per step; empty cells were not measured.

    Rows that repeat the header (a restarted run that appends to its file) and lines that begin with ``#`` are
    passed over. Where something else parts the columns, a comma may be the decimal point. Columns of one name are
    told apart as pandas does: ``loss``, ``loss.1``.
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
        header: list[str] = []
        skipped = 0
        for line in lines:
            skipped += 1
            if line.strip() and not line.startswith("#"):
                delimiter = _delimiter(line)
                header = [name.strip() for name in next(csv.reader([line], delimiter=delimiter))]
                break
        if not header:
            raise LogUnreadable(path, "it holds no header; its first line must name the columns, as in step,loss")
        if all(_is_number(name) for name in header):
            why = "the first line holds numbers, not names; put a header above it, as in step,loss,grad_norm,lr"
            raise LogUnreadable(path, why, f"line {skipped}")
        names = _told_apart(header)
        rows = csv.reader(_whole(lines, delimiter, len(names)), delimiter=delimiter)
        try:
            for row in rows:
                if not row or row[0].startswith("#") or (row[0].strip() == header[0] and _stripped(row) == header):
                    continue
                if len(row) > len(names) and any(cell.strip() for cell in row[len(names) :]):
                    why = f"it has {len(row)} cells for {len(names)} columns; correct the line or the header"
                    raise LogUnreadable(path, why, f"line {skipped + rows.line_num}")
                if delimiter != ",":
                    row = [_with_point(cell) for cell in row]
                yield Record(skipped + rows.line_num, dict(zip(names, row)))
        except csv.Error as error:
            why = f"it is no CSV ({error}); correct the line"
            raise LogUnreadable(path, why, f"line {skipped + rows.line_num}") from None


def _delimiter(line: str) -> str:
    return max(_DELIMITERS, key=line.count)


def _whole(lines: Iterator[str], delimiter: str, columns: int) -> Iterator[str]:
    """All lines but a last one that breaks off in the middle: before its last cell, or within its number.

    Many a whole file lacks its last newline, so that alone says nothing.
    """
    for line in lines:
        if not line.endswith(("\n", "\r")):
            cells = next(csv.reader([line], delimiter=delimiter), [])
            if len(cells) < columns or _BROKEN_NUMBER.match(cells[-1]):
                return
        yield line


def _told_apart(header: list[str]) -> list[str]:
    """Names of which none is there twice.

    >>> _told_apart(["step", "loss", "loss"])
    ['step', 'loss', 'loss.1']
    """
    names: dict[str, None] = {}
    for name in header:
        told, again = name, 0
        while told in names:
            again += 1
            told = f"{name}.{again}"
        names[told] = None
    return list(names)


def _stripped(row: list[str]) -> list[str]:
    return [cell.strip() for cell in row]


def _with_point(cell: str) -> str:
    return cell.replace(",", ".") if "," in cell and _DECIMAL_COMMA.match(cell) else cell


def _is_number(name: str) -> bool:
    with suppress(ValueError):
        return number(name) is not None
    return False
