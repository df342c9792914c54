"""Whether the loop is to wait, and for how long at most."""

from __future__ import annotations

import time
from collections.abc import Callable


class LoopPause:
    """Begun and ended by commands; read by the hook, all on the training thread."""

    def __init__(self, *, can_be_ended: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self.can_be_ended = can_be_ended
        """Whether commands can reach this process while it waits."""
        self._clock = clock
        self._began = 0.0
        self._deadline: float | None = None

    @property
    def is_on(self) -> bool:
        """Whether the loop is to wait now; false also once the time is over."""
        return self._deadline is not None and self.seconds_left > 0

    @property
    def seconds_left(self) -> float:
        """Until the loop goes on by itself; 0 where nothing waits."""
        return 0.0 if self._deadline is None else max(0.0, self._deadline - self._clock())

    def begin(self, seconds: float) -> None:
        """Wait from now on, for ``seconds`` at most."""
        self._began = self._clock()
        self._deadline = self._began + seconds

    def end(self) -> float:
        """Go on; returns the seconds that were waited."""
        waited = 0.0 if self._deadline is None else self._clock() - self._began
        self._deadline = None
        return waited
