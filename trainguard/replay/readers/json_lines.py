"""JSON: an object per line, a list of objects, or an object of lists."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar

from trainguard.replay.errors import LogUnreadable
from trainguard.replay.readers.base import LogReader, Record
from trainguard.replay.readers.opening import lines_of, text_of


class JsonLines(LogReader):
    """An object per step. Nested objects become ``outer/inner``; NaN and Infinity are read in every spelling.

    A last line that breaks off is passed over: a killed process leaves one.
    """

    name: ClassVar[str] = "JSON lines"
    patterns: ClassVar[tuple[str, ...]] = ("*.jsonl", "*.jsonl.gz", "*.ndjson", "*.json", "*.json.gz")

    def suits(self, path: Path, head: bytes) -> bool:
        """See `LogReader.suits`."""
        if b"\0" in head:
            return False
        # What is called so is judged as such, so that a foreign line is told of by its number.
        return any(ending in path.name.lower() for ending in (".jsonl", ".ndjson")) or head.removeprefix(
            b"\xef\xbb\xbf"
        ).lstrip()[:1] in (b"{", b"[")

    def records(self, path: Path) -> Iterator[Record]:
        """See `LogReader.records`."""
        lines = ((place, line) for place, line in enumerate(lines_of(path), start=1) if line.strip())
        first = list(islice(lines, 2))
        if len(first) < 2 or not _is_object(first[0][1]):
            # One document, which may go over many lines; a first line that is damaged shows itself there.
            yield from _of_document(path)
            return
        torn: LogUnreadable | None = None
        for place, line in chain(first, lines):
            if torn is not None:
                raise torn
            try:
                said = json.loads(line)
            except (ValueError, RecursionError) as error:
                why = f"it is no JSON ({error}); correct or remove the line"
                torn = LogUnreadable(path, why, f"line {place}")
                continue
            if not isinstance(said, dict):
                why = f"it holds {type(said).__name__} instead of an object of names and numbers; remove the line"
                raise LogUnreadable(path, why, f"line {place}")
            yield Record(place, flat(said))


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def flat(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """Nested objects as ``outer/inner``; what is neither number nor text is left out.

    >>> flat({"step": 3, "train": {"loss": 2.5, "tags": ["a"]}})
    {'step': 3, 'train/loss': 2.5}
    """
    if not any(isinstance(value, (dict, list)) for value in said.values()):
        return said
    cells: dict[str, Any] = {}
    for name, value in said.items():
        if isinstance(value, dict):
            cells.update({f"{name}/{inner}": cell for inner, cell in flat(value).items()})
        elif not isinstance(value, list):
            cells[name] = value
    return cells


def entries_of(path: Path, entries: list[Any]) -> Iterator[Record]:
    """A list of objects as records, counted from 1."""
    for place, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            why = f"it is {type(entry).__name__} instead of an object of names and numbers; remove it"
            raise LogUnreadable(path, why, f"entry {place}")
        yield Record(place, flat(entry))


def document_of(path: Path) -> Any:
    """The whole file as one JSON value."""
    try:
        return json.loads(text_of(path))
    except ValueError as error:
        raise LogUnreadable(path, f"it is no JSON ({error}); correct it there") from None
    except RecursionError:
        raise LogUnreadable(path, "it is nested too deeply for a log") from None


def _of_document(path: Path) -> Iterator[Record]:
    document = document_of(path)
    if isinstance(document, list):
        yield from entries_of(path, document)
        return
    if isinstance(document, dict):
        if isinstance(document.get("log_history"), list):
            yield from entries_of(path, document["log_history"])
            return
        columns = {name: column for name, column in document.items() if isinstance(column, list)}
        if columns:
            for index in range(max(len(column) for column in columns.values())):
                cells = {name: column[index] for name, column in columns.items() if index < len(column)}
                yield Record(index + 1, flat(cells))
            return
        yield Record(1, flat(document))
        return
    raise LogUnreadable(
        path, "it is JSON, but no log: give an object per line, a list of objects, or an object of lists"
    )
