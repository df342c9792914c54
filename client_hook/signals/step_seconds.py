"""Wall time of a step."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from client_hook.signals.base import Signal, Watched


class StepSeconds(Signal):
    """Seconds from the previous ``observe`` to this one; the first has none."""

    names: ClassVar[tuple[str, ...]] = ("step_seconds",)

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._last: float | None = None

    def collect(self) -> dict[str, Tensor | float]:
        """The time since the previous call."""
        now = self.watched.clock()
        last, self._last = self._last, now
        return {} if last is None else {"step_seconds": now - last}
