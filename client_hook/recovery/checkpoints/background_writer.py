"""One daemon thread that does slow things in order, so that the training loop does not wait for a disk."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable


class BackgroundWriter:
    """A bounded queue of jobs and the thread that does them. Jobs must not raise; they report by themselves.

    After a fork the child has no thread: there nothing is taken on and nothing is waited for.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        self._jobs: deque[Callable[[], None]] = deque()
        self._is_busy = False
        self._is_closing = False
        self._thread: threading.Thread | None = None
        self._owner = os.getpid()

    @property
    def waiting(self) -> int:
        """Jobs that were not begun yet."""
        return len(self._jobs)

    def give(self, job: Callable[[], None], *, limit: int | None = None) -> bool:
        """Queue ``job``; ``False`` where ``limit`` jobs are waiting already, or the writer is closed."""
        if os.getpid() != self._owner:
            return False
        with self._changed:
            if self._is_closing or (limit is not None and len(self._jobs) >= limit):
                return False
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return True

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait until all jobs are done; ``False`` if the time ran out."""
        if os.getpid() != self._owner:
            return True
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        with self._changed:
            while self._jobs or self._is_busy:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def close(self, timeout_seconds: float | None = None) -> bool:
        """Do what is queued, then end the thread; ``False`` if the time ran out."""
        if os.getpid() != self._owner:
            return True
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread is None:
            return True
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._jobs:
                    if self._is_closing:
                        return
                    self._changed.wait()
                job = self._jobs.popleft()
                self._is_busy = True
            try:
                job()
            finally:
                del job  # it holds a snapshot of the model
                with self._changed:
                    self._is_busy = False
                    self._changed.notify_all()
