"""YAML with its lines: plain values, and for every place in them the line it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

try:
    import yaml
except ImportError:  # the trainer's own installation has pydantic and httpx only
    yaml = None  # type: ignore[assignment]

from trainguard.playbooks.errors import PlaybookUnreadable

Place = tuple[str | int, ...]


@dataclass
class Document:
    """What a YAML text says, and where it says it."""

    value: Any
    lines: dict[Place, int] = field(default_factory=dict)
    """From 1. A key's line is that of the key itself."""

    def line_of(self, place: Sequence[str | int]) -> int:
        """The line of ``place``, or of the nearest place around it that is in the text."""
        wanted = tuple(place)
        while wanted and wanted not in self.lines:
            wanted = wanted[:-1]
        return self.lines.get(wanted, 1)


def read_yaml(text: str, source: str) -> Document:
    """Read one YAML document (JSON is YAML too).

    Raises:
        PlaybookUnreadable: PyYAML is missing, the text is no YAML, or a key stands twice in one mapping.
    """
    if yaml is None:
        raise PlaybookUnreadable(
            source,
            [(None, "reading YAML needs PyYAML: pip install 'trainguard[cli]', or give the playbook as a mapping")],
        )
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        raise PlaybookUnreadable(source, [(mark.line + 1 if mark else None, f"this is no YAML: {problem}")]) from None
    document = Document(value)
    if root is not None:
        faults = list(_note(root, (), root.start_mark.line + 1, document.lines, ancestors=()))
        if faults:
            raise PlaybookUnreadable(source, faults)
    return document


def write_yaml(value: Any, source: str) -> str:
    """Plain values as YAML, in their order. Raises `PlaybookUnreadable` where PyYAML is missing."""
    if yaml is None:
        raise PlaybookUnreadable(source, [(None, "writing YAML needs PyYAML: pip install 'trainguard[cli]'")])
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
    return text


def _note(node: Any, place: Place, line: int, lines: dict[Place, int], ancestors: tuple[int, ...]) -> list[Any]:
    lines[place] = line
    if id(node) in ancestors:
        return [(line, "an alias holds itself")]
    faults: list[Any] = []
    within = (*ancestors, id(node))
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, at = str(key.value), key.start_mark.line + 1
            if name in seen:
                faults.append((at, f"{name!r} stands here for the second time; the first is in line {seen[name]}"))
            seen[name] = at
            faults += _note(value, (*place, name), at, lines, within)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            faults += _note(value, (*place, index), value.start_mark.line + 1, lines, within)
    return faults
