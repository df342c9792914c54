"""No protection at all."""

from __future__ import annotations

from benchmarks.recovery.strategies.base import Strategy


class Nothing(Strategy):
    """The loop as most people write it."""
