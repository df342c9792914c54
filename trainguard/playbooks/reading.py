"""From a file, a text or a mapping to a playbook."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from trainguard.playbooks.errors import PlaybookUnreadable
from trainguard.policy import Budget, Ladder, Playbook, RateReturn, Rung

if TYPE_CHECKING:
    from trainguard.playbooks.yaml_lines import Document, Place

MOST_BYTES = 1_000_000
"""A playbook is a page or two; what is larger is something else."""


def read_playbook(path: str | os.PathLike[str]) -> Playbook:
    """Read a YAML file.

    Raises:
        PlaybookUnreadable: the file cannot be read, or what it says makes no sense; every fault with its line.
    """
    source = os.fspath(path)
    try:
        with open(source, "rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise PlaybookUnreadable(source, [(None, f"this is over {MOST_BYTES} bytes and hardly a playbook")])
        text = content.decode("utf-8")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise PlaybookUnreadable(source, [(None, f"it cannot be read ({reason}); name a YAML file")]) from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise PlaybookUnreadable(source, [(line, "this is no UTF-8 text")]) from None
    return parse_playbook(text, source)


def parse_playbook(text: str, source: str = "playbook") -> Playbook:
    """Read a YAML text; ``source`` is what errors call it.

    >>> parse_playbook("extends: default\\nname: patient\\nprobation_steps: 200\\n").probation_steps
    200
    >>> parse_playbook("extends: default\\nhealed_after: 9\\n", "me.yaml")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    trainguard.playbooks.errors.PlaybookUnreadable: me.yaml, line 2: healed_after: unknown key; did you mean ...
    """
    # Only here: whoever trains without a playbook of their own does not wait for PyYAML at import.
    from trainguard.playbooks.yaml_lines import read_yaml

    document = read_yaml(text, source)
    if not isinstance(document.value, dict):
        raise PlaybookUnreadable(source, [(1, "a playbook is a mapping; begin with 'extends: default'")])
    return _validated(document.value, source, document)


def playbook_from_mapping(given: Mapping[str, Any], source: str = "playbook") -> Playbook:
    """The same from Python.

    Raises:
        PlaybookUnreadable: it makes no sense; each fault with the place.
    """
    return _validated(dict(given), source, None)


def _validated(given: dict[Any, Any], source: str, document: Document | None) -> Playbook:
    given = _named(given, source)
    try:
        return Playbook.model_validate(given)
    except ValidationError as error:
        faults = [_fault(one, given, document) for one in error.errors(include_url=False)]
        faults.sort(key=lambda fault: fault[0] or 0)
        raise PlaybookUnreadable(source, list(dict.fromkeys(faults))) from None


def _named(given: dict[Any, Any], source: str) -> dict[Any, Any]:
    if "name" in given or "extends" not in given:
        return given
    # Where decisions quote the playbook, people must see that it is not the default one.
    return {"name": Path(source).stem[:80] or "own", **given}


def _fault(error: Any, given: Mapping[Any, Any], document: Document | None) -> tuple[int | None, str]:
    place = tuple(part for part in error["loc"] if not _is_of_pydantic(part))
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = f"unknown key; {_known_beside(place)}"
    elif error["type"] == "missing":
        message = "this is missing"
    spoken_of = message.split(" ", 1)[0]
    at = (spoken_of,) if not place and spoken_of in given else place
    line = document.line_of(at) if document is not None else None
    where = ".".join(str(part) for part in place)
    return line, f"{where}: {message}" if where else message


def _is_of_pydantic(part: str | int) -> bool:
    """Pydantic names keys, and the branches of a union, within the place; people have written no such thing."""
    return isinstance(part, str) and ("[" in part or part in ("float", "constrained-float"))


def _known_beside(place: Place) -> str:
    known = _keys_at(place[:-1])
    near = get_close_matches(str(place[-1]), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known here are {', '.join(known)}"


def _keys_at(place: Place) -> list[str]:
    if not place:
        return ["extends", *Playbook.model_fields]
    if place[0] == "ladders":
        return list((Rung if "rungs" in place else Ladder).model_fields)
    return list((Budget if place[0] == "budget" else RateReturn).model_fields)
