"""Paces: how often somebody may come, in windows of a minute.

Each process counts for itself: to ask the database at every request would cost more than the request. So of several
workers each allows its share, and together they never allow more than was set.
"""

from __future__ import annotations

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter


class Pace:
    """So many a minute for each key, from all ``workers`` together; 0 is no limit."""

    def __init__(self, name: str, per_minute: int, *, workers: int = 1) -> None:
        # Never nothing at all: a limit smaller than the number of workers is one request each.
        self.per_minute = max(1, per_minute // workers) if per_minute else 0
        self._item = RateLimitItemPerMinute(max(1, self.per_minute), namespace=name)
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    async def hit(self, key: str) -> bool:
        """Count one; whether it is still within the limit."""
        return self.per_minute == 0 or await self._limiter.hit(self._item, key)

    async def is_free(self, key: str) -> bool:
        """Whether one more would be within the limit; counts nothing."""
        return self.per_minute == 0 or await self._limiter.test(self._item, key)
