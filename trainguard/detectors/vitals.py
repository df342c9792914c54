"""A run's condition in a few numbers, for those who judge whether it is well again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Vitals:
    """What the panel knows after its newest observation. All levels are in the signal's own unit."""

    attempt: int
    step: int
    loss: float | None
    """The newest raw loss, which may be NaN; ``None`` where it was not measured."""
    loss_level: float | None
    """Median of the finite ones among the last 8 losses; ``None`` where none of them was finite."""
    loss_center: float | None
    """Center of the healthy baseline; ``None`` before there are enough points. It never holds a spike."""
    loss_band: float | None
    """Robust one-sigma width of the healthy baseline."""
    nonfinite_streak: int
    """Newest observations in a row with a non-finite loss or gradient (a scaler's own skips are not counted)."""
    params_nonfinite: bool
    """Whether the newest observation had non-finite parameters."""
    grad_norm: float | None
    """The newest raw gradient norm: before clipping, else after it."""
    grad_norm_center: float | None
    """Center of the healthy gradient norm."""
    grad_norm_band: float | None
    """Robust one-sigma width of the healthy gradient norm."""
    observations: int
    """Observations taken in since the start or the last reset."""
