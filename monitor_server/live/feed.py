"""The feed: wakes whoever waits for events, in whichever process they were written.

It carries no events, only the news that there are some: everybody reads the table for himself, so that a wake-up
that is lost costs a moment and never an event. On PostgreSQL one connection LISTENs for the other processes; on
SQLite there is one process that writes, and it wakes its own.
"""

from __future__ import annotations

import asyncio
import logging
import threading

from sqlalchemy import text

from monitor_server.storage import Database, DatabaseUnavailable, events

logger = logging.getLogger(__name__)

LISTEN_SECONDS = 1.0
"""How long one wait for a NOTIFY lasts, and so how long stopping may take."""
RETRY_SECONDS = 5.0


class EventFeed:
    """One per process. `wake` may be called from any thread, `changed` from any event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiters: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._seats = 0

    @property
    def is_closing(self) -> bool:
        """Whether streams are to end now."""
        return self._closing.is_set()

    def start(self) -> None:
        """Begin to listen to this process's commits, and on PostgreSQL to those of the others."""
        self._database.after_events(self.wake)
        if not self._database.is_sqlite:
            self._thread = threading.Thread(target=self._listen, name="trainguard-events", daemon=True)
            self._thread.start()

    def take_seat(self, capacity: int) -> bool:
        """One more stream, unless there are ``capacity`` already; whether it may begin."""
        with self._lock:
            if self._seats >= capacity:
                return False
            self._seats += 1
        return True

    def leave_seat(self) -> None:
        """A stream has ended."""
        with self._lock:
            self._seats -= 1

    def close(self) -> None:
        """Ask every stream to end; a service that drains would wait for them in vain. Never blocks."""
        self._closing.set()
        self.wake()

    def stop(self, *, timeout_seconds: float = 20.0) -> None:
        """Close, and end the thread."""
        self.close()
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def wake(self) -> None:
        """There may be something to read."""
        with self._lock:
            for event, loop in self._waiters.items():
                if not loop.is_closed():
                    loop.call_soon_threadsafe(event.set)

    async def changed(self, timeout_seconds: float) -> bool:
        """Wait for `wake`, at most so long; whether it came."""
        event = asyncio.Event()
        with self._lock:
            self._waiters[event] = asyncio.get_running_loop()
        try:
            if self.is_closing:
                return True
            await asyncio.wait_for(event.wait(), timeout_seconds)
        except asyncio.TimeoutError:
            return False
        finally:
            with self._lock:
                del self._waiters[event]
        return True

    def _listen(self) -> None:
        while not self._closing.is_set():
            try:
                self._listen_on_one_connection()
            except Exception as error:
                # Streams look by themselves every second; what is lost meanwhile is only haste.
                level = logging.INFO if isinstance(error, DatabaseUnavailable) else logging.WARNING
                logger.log(level, "not listening for events of other processes: %s", error)
                self._closing.wait(RETRY_SECONDS)

    def _listen_on_one_connection(self) -> None:
        with self._database.listening() as connection:
            connection.execute(text(f"LISTEN {events.CHANNEL}"))
            driver = connection.connection.driver_connection
            assert driver is not None
            while not self._closing.is_set():
                for _ in driver.notifies(timeout=LISTEN_SECONDS, stop_after=1):
                    self.wake()
