"""Several processes behind one port: a supervisor that starts them, follows them, and takes them down politely."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from types import FrameType

from monitor_server.settings import Settings

logger = logging.getLogger("trainguard")

Work = Callable[[Settings, int, socket.socket | None], None]

LEAVE_SECONDS = 40.0
"""Longer than a worker takes to drain; then it is killed."""
SHORTEST_LIFE_SECONDS = 5.0
"""A worker that ends sooner is started again only after a pause: something is wrong that haste does not mend."""
LOOK_SECONDS = 0.5


class Supervisor:
    """Keeps so many workers running until SIGTERM or SIGINT. A worker that dies is replaced, and the others go on.

    Each of the first workers is handed one of the ``listeners``, which nobody else keeps: with a worker that dies goes
    its socket, and the kernel sends every connection to the others.
    """

    def __init__(self, settings: Settings, work: Work, listeners: Sequence[socket.socket] = ()) -> None:
        self._settings = settings
        self._work = work
        self._listeners = list(listeners)
        # spawn: a fork would take threads and database connections along, half alive.
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[tuple[BaseProcess, float] | None] = [None] * settings.workers
        self._not_before = [0.0] * settings.workers
        self._closing = threading.Event()

    def run(self) -> None:
        """Start the workers and wait for the signal to end."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._leave)
        # Each worker keeps its counters in a file here, and whichever is asked for /metrics adds them up.
        folder = tempfile.mkdtemp(prefix="trainguard-metrics-")
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        try:
            while not self._closing.is_set():
                self._start_missing()
                self._closing.wait(LOOK_SECONDS)
        finally:
            self._end()
            shutil.rmtree(folder, ignore_errors=True)

    def _start_missing(self) -> None:
        now = time.monotonic()
        for index, held in enumerate(self._workers):
            if held is not None:
                process, since = held
                if process.is_alive():
                    continue
                logger.warning("worker %d ended with %s; another takes its place", process.pid or 0, process.exitcode)
                self._workers[index] = None
                if now - since < SHORTEST_LIFE_SECONDS:
                    self._not_before[index] = now + SHORTEST_LIFE_SECONDS
            if now < self._not_before[index]:
                continue
            listener = self._listeners.pop() if self._listeners else None
            process = self._context.Process(
                target=self._work, args=(self._settings, index, listener), name=f"worker-{index}"
            )
            process.start()
            if listener is not None:
                listener.close()
            self._workers[index] = (process, now)

    def _end(self) -> None:
        processes = [held[0] for held in self._workers if held is not None]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + LEAVE_SECONDS
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()

    def _leave(self, _signal: int, _frame: FrameType | None) -> None:
        self._closing.set()
