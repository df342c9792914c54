"""When to send: at the service's pace, at once where it matters, and ever more rarely while nobody answers."""

from __future__ import annotations

import random
from collections.abc import Callable


class Pace:
    """Says how long to wait before the next envelope. Times are those of ``now``, in seconds.

    While the service answers, an envelope is due every ``flush_seconds`` of its last receipt, or at once after
    `hurry`. While it does not, the waits grow 0.5, 1, 2, 4, 8, 15, 15 … seconds, and no hurry shortens them: a
    service that is down, or asks for patience, is not to be stormed by the runs that worry most. Each is shortened by
    up to a half, as ``chance`` (0 to 1) has it, so that a thousand runs that lost it together do not come together.

    >>> time = [100.0]
    >>> pace = Pace(lambda: time[0], chance=lambda: 1.0)
    >>> pace.seconds_until_due()
    0.0
    >>> pace.succeeded(flush_seconds=2.0)
    >>> pace.seconds_until_due()
    2.0
    >>> pace.hurry()
    >>> pace.seconds_until_due()
    0.0
    >>> waits = []
    >>> for _ in range(7):
    ...     pace.failed()
    ...     pace.hurry()
    ...     waits.append(pace.seconds_until_due())
    >>> waits
    [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    """

    FIRST_RETRY_SECONDS = 0.5
    LONGEST_RETRY_SECONDS = 15.0
    SLOW_RETRY_SECONDS = 60.0
    """Where a person must do something first: a wrong token, a refused description."""

    def __init__(self, now: Callable[[], float], chance: Callable[[], float] | None = None) -> None:
        self._now = now
        # A stream of our own: the training may draw from Python's.
        self._chance = chance or random.Random().random
        self._flush_at = float("-inf")
        self._not_before = float("-inf")
        self._retry_seconds = self.FIRST_RETRY_SECONDS
        self.is_failing = False
        """Whether the last attempt to send was in vain."""

    def seconds_until_due(self) -> float:
        """0 where an envelope is due now."""
        return max(0.0, max(self._flush_at, self._not_before) - self._now())

    def hurry(self) -> None:
        """Do not gather any longer."""
        self._flush_at = float("-inf")

    def succeeded(self, flush_seconds: float) -> None:
        """A receipt came; the next envelope may gather so long."""
        self._flush_at = self._now() + flush_seconds
        self._not_before = float("-inf")
        self._retry_seconds = self.FIRST_RETRY_SECONDS
        self.is_failing = False

    def failed(self) -> None:
        """No receipt: wait twice as long as last time, up to the longest wait."""
        self.hold(self._retry_seconds * (1 + self._chance()) / 2)
        self._retry_seconds = min(2 * self._retry_seconds, self.LONGEST_RETRY_SECONDS)

    def hold(self, seconds: float) -> None:
        """No receipt, and nothing is to be sent for so long; afterwards at once."""
        self._not_before = self._now() + seconds
        self._flush_at = float("-inf")
        self.is_failing = True

    def forgive(self) -> None:
        """Whatever was waited for, the next attempt is due now and counts as the first."""
        self._not_before = self._flush_at = float("-inf")
        self._retry_seconds = self.FIRST_RETRY_SECONDS
