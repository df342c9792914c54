"""Cursors: the key of the last thing on a page, as an opaque word for the next request."""

from __future__ import annotations

import base64
import binascii
import json
import math
from typing import Any
from uuid import UUID

from monitor_server.api.problems import refused_field
from monitor_server.storage.runs import SortKey

MOST_CURSOR = 1200
"""Characters of a cursor of runs: a name of 200 characters, four bytes each, and a run's id, in base64."""


def run_cursor(key: float | str, run_id: UUID) -> str:
    """The cursor after a run, in the order of ``key``.

    >>> read_run_cursor(run_cursor(0.1, UUID(int=5)), "registered_at")
    (0.1, UUID('00000000-0000-0000-0000-000000000005'))
    """
    return _word([key, str(run_id)])


def read_run_cursor(word: str, sort: SortKey) -> tuple[float | str, UUID]:
    """The key in a cursor made by `run_cursor` for the same order. Raises `Problem` for anything else."""
    try:
        key, told = _parts(word)
        run_id = UUID(told)
        if sort == "name":
            if not isinstance(key, str):
                raise _refused()
            key.encode()  # half a surrogate pair is no text: no database takes it
            return key, run_id
        moment = float(key)
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise _refused() from None
    if isinstance(key, str) or not math.isfinite(moment):
        raise _refused()
    return moment, run_id


def step_cursor(attempt: int, step: int) -> str:
    """The cursor after an observation."""
    return _word([attempt, step])


def read_step_cursor(word: str) -> tuple[int, int]:
    """The key in a cursor made by `step_cursor`. Raises `Problem` for anything else."""
    try:
        attempt, step = _parts(word)
    except (ValueError, TypeError):
        raise _refused() from None
    if not (isinstance(attempt, int) and isinstance(step, int) and 0 <= attempt < 2**31 and 0 <= step < 2**53):
        raise _refused()
    return attempt, step


def entry_cursor(number: int) -> str:
    """The cursor after an entry of the audit log."""
    return _word([number])


def read_entry_cursor(word: str) -> int:
    """The number in a cursor made by `entry_cursor`. Raises `Problem` for anything else."""
    try:
        (number,) = _parts(word)
    except (ValueError, TypeError):
        raise _refused() from None
    if not (isinstance(number, int) and 0 <= number < 2**63):
        raise _refused()
    return number


def _word(parts: list[float | int | str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts, ensure_ascii=False).encode()).decode().rstrip("=")


def _parts(word: str) -> list[Any]:
    try:
        parts = json.loads(base64.urlsafe_b64decode(word + "=" * (-len(word) % 4)))
    except (binascii.Error, RecursionError) as error:
        raise ValueError("no cursor") from error
    if not isinstance(parts, list):
        raise ValueError("no cursor")
    return parts


def _refused() -> Exception:
    return refused_field(422, "invalid_request", "cursor", "is none of ours; take it from `next` of the last answer")
