"""What of a training's set-up shows itself only while it runs: clipping, accumulation, how often the schedule steps."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from client_hook.recovery.schedule_rhythm import ScheduleRhythm

STEPS = 50
"""Observations after which it is told, once."""


class Practice:
    """Watches the first `STEPS` observations; nothing of it costs anything afterwards.

    Clipping is known for certain where ``hook.clip_grad_norm_`` does it, and recognised by the norms where torch's own
    function does (`client_hook.signals.clipping_ceiling`); one that was never reached, or is by value, is not seen.
    Accumulation is known where ``hook.accumulate`` is told of each part.
    """

    def __init__(self, rhythm: ScheduleRhythm) -> None:
        self._rhythm = rhythm
        self._max_norm: float | None = None
        self._highest_clipped: float | None = None
        self._parts = 0
        self._observed = 0
        self._first_counts: list[int | None] = []
        self._latest_counts: list[int | None] = []

    def clipped_at(self, max_norm: float) -> None:
        """The loop clips by the hook, at this limit."""
        self._max_norm = float(max_norm)

    def observed(self, parts: int) -> None:
        """In ``observe``, after the loss of so many micro-batches was given one by one; 0 where none was."""
        self._parts = max(self._parts, parts)
        self._latest_counts = self._rhythm.counts
        self._first_counts = self._first_counts or self._latest_counts

    def measured(self, values: Mapping[str, float]) -> dict[str, JsonValue] | None:
        """What one observation was; the whole of it once enough were seen."""
        clipped = values.get("grad_norm_clipped")
        if clipped is not None:
            self._highest_clipped = max(clipped, self._highest_clipped or 0.0)
        self._observed += 1
        return self._seen() if self._observed == STEPS else None

    def _seen(self) -> dict[str, JsonValue]:
        limit = self._max_norm if self._max_norm is not None else self._highest_clipped
        seen: dict[str, JsonValue] = {
            "clipping": {"seen": limit is not None, "max_norm": None if limit is None else float(f"{limit:.3g}")},
            "accumulation": self._parts or None,
        }
        made = [
            (last - first) / (STEPS - 1)
            for first, last in zip(self._first_counts, self._latest_counts)
            if first is not None and last is not None
        ]
        if made:
            seen["schedule_steps_per_update"] = round(max(made), 2)
        return seen
