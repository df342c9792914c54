"""Which signals left their band before the loss did, and by how many steps."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from statistics import median
from typing import NamedTuple

LOOK_BACK = 24
"""Points before the loss left its band in which a sign counts as its forerunner."""
HEALTHY = 64
"""Points before those from which a signal's band is taken."""
KNOWN = 16
BANDS = 5.0
SMALLEST = 1.4
"""A signal must have moved by this factor as well: a band can be very narrow."""


class Row(NamedTuple):
    """One past step, as the evidence needs it; ``None`` where not measured, not finite, or no example of health."""

    step: int
    loss: float | None
    grad_norm: float | None
    update_ratio: float | None
    learning_rate: float | None
    adam_rms: float | None = None
    loss_scale: float | None = None


LEADING = ("grad_norm", "update_ratio", "adam_rms", "loss_scale")
"""Signals that run ahead of the loss: the gradient, the update, the age of Adam's second moment (Wortsman et al.
2023) rise before a spike; the loss scale falls."""


def leads(rows: Sequence[Row], loss_onset: int) -> dict[str, int]:
    """By signal, how many steps before ``loss_onset`` it left its band for good; only those that did.

    The band is a median and 1.4826 times the median deviation of the logarithm over the points before the look-back.

    >>> rows = [Row(step, 2.0, 1.0 if step < 97 else 9.0, 1e-3, 1e-3, 1.0, None) for step in range(101)]
    >>> leads(rows, 100)
    {'grad_norm': 3}
    """
    before = [row for row in rows if row.step < loss_onset]
    recent, healthy = before[-LOOK_BACK:], before[-LOOK_BACK - HEALTHY : -LOOK_BACK]
    found: dict[str, int] = {}
    for name in LEADING:
        usual = _logarithms(healthy, name)
        if len(usual) < KNOWN:
            continue
        center = median(usual)
        band = max(BANDS * 1.4826 * median(abs(value - center) for value in usual), log(SMALLEST))
        sign = -1 if name == "loss_scale" else 1
        first = None
        calm = 0
        for row in reversed(recent):
            value = getattr(row, name)
            if value is not None and value > 0 and sign * (log(value) - center) > band:
                first, calm = row.step, 0
                continue
            calm += 1
            if calm > 1:
                break
        if first is not None:
            found[name] = loss_onset - first
    return found


def _logarithms(rows: Sequence[Row], name: str) -> list[float]:
    return [log(value) for row in rows if (value := getattr(row, name)) is not None and value > 0]
