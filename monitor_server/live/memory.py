"""The cache of live runs: bounded, and published only after the commit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from uuid import UUID

from sqlalchemy import Connection

from monitor_server.live.live_run import LiveRun, recall
from monitor_server.storage import RunRow


class LiveMemory:
    """At most ``capacity`` runs; the one not heard of for longest goes first. Safe to use from many threads."""

    def __init__(self, capacity: int = 2000) -> None:
        self._capacity = capacity
        self._runs: OrderedDict[UUID, LiveRun] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._runs)

    def take(self, connection: Connection, run: RunRow) -> LiveRun:
        """The run's detectors, now the caller's alone: from here if fresh, else from the database.

        ``run`` must be locked by the caller's transaction.
        """
        with self._lock:
            live = self._runs.pop(run.run_id, None)
        if live is not None and live.version == run.version and live.attempt == run.attempt:
            return live
        return recall(connection, run)

    def publish(self, live: LiveRun) -> None:
        """Put detectors back, after the commit that made their ``version`` true."""
        with self._lock:
            self._runs[live.run_id] = live
            self._runs.move_to_end(live.run_id)
            while len(self._runs) > self._capacity:
                self._runs.popitem(last=False)
