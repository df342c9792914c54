"""Group commit: whatever envelopes wait are recorded in one transaction."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, copy_context
from dataclasses import dataclass, field

from monitor_server.live import LiveMemory
from monitor_server.pipeline.case import Case
from monitor_server.pipeline.transaction import Transaction
from monitor_server.settings import Settings
from monitor_server.storage import Database, DatabaseUnavailable
from trainguard.wire import Envelope

logger = logging.getLogger(__name__)

MOST_ENVELOPES = 64
"""Envelopes in one transaction: enough to share the cost of a disk sync, few enough to keep every answer quick."""

EASY_SHARE = 0.25
"""A line no fuller than this asks nothing of the trainers."""
MOST_PRESSURE = 5.0


class Overloaded(Exception):
    """More envelopes wait than the service takes; come again a little later."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    envelope: Envelope
    answer: Future[Case] = field(default_factory=Future)
    # With the ids of its request, which every line that is logged of it then names.
    context: Context = field(default_factory=copy_context)


class Ingest:
    """One thread that records envelopes; HTTP's threads only wait for it.

    The detectors are Python: more threads would not make them faster, and more processes do.
    """

    def __init__(
        self, database: Database, memory: LiveMemory, settings: Settings, *, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._memory = memory
        self._settings = settings
        self._clock = clock
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue(settings.ingest_queue)
        self._thread = threading.Thread(target=self._work, name="trainguard-ingest", daemon=True)
        self._is_closing = False
        # Nobody may slip in behind the mark that ends the line: nobody would answer him.
        self._door = threading.Lock()

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self, *, timeout_seconds: float = 20.0) -> None:
        """Take no more, finish what waits, and end."""
        with self._door:
            self._is_closing = True
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join(timeout_seconds)

    def submit(self, envelope: Envelope) -> Future[Case]:
        """Put an envelope in line. The future brings the case with its receipt, after the commit, or the error.

        Raises `Overloaded` when the line is full or the service is closing.
        """
        waiting = _Waiting(envelope)
        with self._door:
            if self._is_closing:
                raise Overloaded("the service is closing; send it again to the next one")
            try:
                self._waiting.put_nowait(waiting)
            except queue.Full:
                raise Overloaded(f"{self._waiting.maxsize} envelopes wait for their commit already") from None
        return waiting.answer

    @property
    def pressure(self) -> float:
        """How many times longer trainers are to gather: 1 with an easy line, `MOST_PRESSURE` with a full one.

        A trainer's own findings are flushed at once, so no alarm is later for it.
        """
        filled = self._waiting.qsize() / self._waiting.maxsize
        return 1.0 + (MOST_PRESSURE - 1.0) * max(0.0, (filled - EASY_SHARE) / (1.0 - EASY_SHARE))

    def _work(self) -> None:
        while True:
            first = self._waiting.get()
            if first is None:
                return
            batch, is_last = [first], False
            while len(batch) < MOST_ENVELOPES and not is_last:
                try:
                    following = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    is_last = True
                else:
                    batch.append(following)
            self._record([one for one in batch if one.answer.set_running_or_notify_cancel()])
            if is_last:
                return

    def _record(self, batch: list[_Waiting]) -> None:
        """Record a batch together; where that fails for a reason of its own, one by one."""
        if not batch:
            return
        try:
            try:
                work = self._commit(batch, one_by_one=False)
            except DatabaseUnavailable:
                raise
            except Exception as error:
                if len(batch) == 1:
                    batch[0].context.run(logger.exception, "an envelope could not be recorded")
                else:
                    logger.warning("%d envelopes could not be recorded together: %s", len(batch), error)
                work = self._commit(batch, one_by_one=True)
        except Exception as error:
            logger.warning("%d envelopes were not recorded: %s", len(batch), error)
            for one in batch:
                one.answer.set_exception(error)
            return
        work.publish(self._memory)
        for one, answered in zip(batch, work.answers):
            if isinstance(answered, Case):
                one.answer.set_result(answered)
            else:
                one.answer.set_exception(answered)

    def _commit(self, batch: list[_Waiting], *, one_by_one: bool) -> Transaction:
        """One transaction for all; the answers may leave after it."""
        with self._database.write() as connection:
            work = Transaction(
                connection, self._memory, self._settings, [one.envelope for one in batch], one_by_one=one_by_one
            )
            for one in batch:
                one.context.run(work.record, one.envelope, self._clock())
            work.finish(self._clock(), pressure=self.pressure)
        return work
