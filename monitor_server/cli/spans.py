"""Spans of time as people write them."""

from __future__ import annotations

import re

import typer

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def seconds_of(words: str) -> float:
    """Seconds of a span like 90d, 12h or 30m.

    >>> seconds_of("90d"), seconds_of("1.5h")
    (7776000.0, 5400.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", words.strip().lower())
    if not found or float(found[1]) <= 0:
        raise typer.BadParameter(f"{words!r} is no span of time; write it like 30m, 12h, 90d or 4w")
    return float(found[1]) * UNITS[found[2]]
