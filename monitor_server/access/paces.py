"""Paces: how often somebody may come. Counted per process, in windows of a minute."""

from __future__ import annotations

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter


class Pace:
    """So many a minute for each key; 0 is no limit."""

    def __init__(self, name: str, per_minute: int) -> None:
        self.per_minute = per_minute
        self._item = RateLimitItemPerMinute(max(1, per_minute), namespace=name)
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    async def hit(self, key: str) -> bool:
        """Count one; whether it is still within the limit."""
        return self.per_minute == 0 or await self._limiter.hit(self._item, key)

    async def is_free(self, key: str) -> bool:
        """Whether one more would be within the limit; counts nothing."""
        return self.per_minute == 0 or await self._limiter.test(self._item, key)
