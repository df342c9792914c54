"""What waits longer, in a fraction of its memory: an observation's numbers side by side, a report as packed JSON."""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache
from typing import Any

from trainguard.wire import Observation, WireModel

MOST_SHAPES = 256
"""Sets of names remembered; a run has three or four (layers are looked at now and then)."""

_shapes: dict[tuple[str, ...], tuple[str, ...]] = {}


class Folded:
    """What `folded` makes of an observation; `unfolded` gives back an equal one."""

    __slots__ = ("names", "numbers")

    def __init__(self, names: tuple[str, ...], numbers: bytes) -> None:
        self.names = names
        self.numbers = numbers


def folded(row: Observation) -> Observation | Folded:
    """``row`` in some 300 bytes, where as dictionary and floats it takes 1,200; what does not fit stays as it is.

    >>> row = Observation(attempt=1, step=7, observed_at=0.5, signals={"loss": float("inf"), "grad_norm": 0.1})
    >>> small = folded(row)
    >>> type(small).__name__, unfolded(small) == row, unfolded("a mark")
    ('Folded', True, 'a mark')
    """
    names = tuple(row.signals)
    try:
        numbers = _form(len(names)).pack(row.attempt, row.step, row.observed_at, *row.signals.values())
    except (struct.error, OverflowError):  # no number, or an integer beyond the floats: the wire will say so
        return row
    if len(_shapes) >= MOST_SHAPES:
        _shapes.clear()
    return Folded(_shapes.setdefault(names, names), numbers)


class FoldedReport:
    """What `folded_report` makes of a message; `unfolded` gives back an equal one."""

    __slots__ = ("kind", "packed")

    def __init__(self, kind: type[WireModel], packed: bytes) -> None:
        self.kind = kind
        self.packed = packed


def folded_report(item: Any) -> Any:
    """A message of the wire as packed JSON; anything else as it is.

    An incident with its diagnosis takes some 10 KiB as objects, and 1 KiB so.
    """
    if not isinstance(item, WireModel):
        return item
    return FoldedReport(type(item), zlib.compress(item.model_dump_json().encode(), 1))


def unfolded(item: Any) -> Any:
    """What was folded; anything else as it is."""
    if type(item) is FoldedReport:
        return item.kind.model_validate_json(zlib.decompress(item.packed))
    if type(item) is not Folded:
        return item
    attempt, step, observed_at, *values = _form(len(item.names)).unpack(item.numbers)
    return Observation(attempt, step, observed_at, dict(zip(item.names, values)))


def numbers_in(item: Any) -> int:
    """How many signals an observation has, folded or not; 0 of anything else."""
    if type(item) is Folded:
        return len(item.names)
    return len(item.signals) if type(item) is Observation else 0


def size_of(item: Any) -> int:
    """Bytes that a folded report takes; 0 of anything else."""
    return len(item.packed) + 120 if type(item) is FoldedReport else 0


@lru_cache(maxsize=512)
def _form(numbers: int) -> struct.Struct:
    return struct.Struct(f"=qqd{numbers}d")
