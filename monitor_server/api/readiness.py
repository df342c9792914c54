"""Whether the database takes what is written to it, asked so seldom that nobody can hold up the writers by asking."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from monitor_server.storage import Database, DatabaseUnavailable

BELIEVED_SECONDS = 2.0
"""How long an answer is good: probes come every few seconds, from anybody, without a token."""


class Readiness:
    """One per process; safe to use from many threads. ``clock`` tells seconds of whatever beginning."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._trouble: str | None = None

    def require_writing(self) -> None:
        """Raise `DatabaseUnavailable` where nothing can be kept."""
        # Who comes while another asks goes by the answer before: a database that hangs must not hold every thread.
        if self._clock() - self._asked_at >= BELIEVED_SECONDS and self._lock.acquire(blocking=self._is_new):
            try:
                self._ask()
            finally:
                self._lock.release()
        if self._trouble is not None:
            raise DatabaseUnavailable(self._trouble)

    @property
    def _is_new(self) -> bool:
        return self._asked_at == float("-inf")

    def _ask(self) -> None:
        if self._clock() - self._asked_at < BELIEVED_SECONDS:
            return  # somebody else did while this one waited
        try:
            self._database.probe_writing()
            self._trouble = None
        except DatabaseUnavailable as error:
            self._trouble = str(error)
        self._asked_at = self._clock()
