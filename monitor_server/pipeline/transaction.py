"""One transaction over many envelopes: what they share, and how one that fails harms none of the others."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from monitor_server.live import LiveMemory, LiveRun
from monitor_server.pipeline.case import Bench, Case
from monitor_server.pipeline.ledger import Ledger
from monitor_server.pipeline.record import is_plain
from monitor_server.pipeline.refusals import EnvelopeRefused, UnknownRun
from monitor_server.pipeline.settle import answer
from monitor_server.pipeline.stages import walk
from monitor_server.settings import Settings
from monitor_server.storage import RunRow, commands, runs, senders, silences
from trainguard.wire import Envelope

logger = logging.getLogger(__name__)


class Transaction:
    """Locks the rows of all runs at once, leads every envelope along its way, and writes what they leave behind.

    A plain envelope (`is_plain`) writes nothing on its way: where it fails, its ledger is dropped and nothing has
    happened. Any other one has a savepoint of its own, before which the ledger of its neighbours is written.
    With ``one_by_one`` every envelope has one: the way out where the database refuses something of the shared
    ledger, and cannot say whose.
    """

    def __init__(
        self,
        connection: Connection,
        memory: LiveMemory,
        settings: Settings,
        envelopes: Sequence[Envelope],
        *,
        one_by_one: bool,
    ) -> None:
        self._connection = connection
        self._memory = memory
        self._settings = settings
        self._one_by_one = one_by_one
        self._runs: dict[UUID, RunRow] = runs.lock(connection, (one.run_id for one in envelopes))
        self._senders = senders.load(connection, ((one.run_id, one.sender) for one in envelopes))
        self._taken: dict[UUID, LiveRun] = {}
        self._ledger = Ledger()
        self._silenced: set[UUID] | None = None
        self.answers: list[Case | Exception] = []
        """In the order of `record`; cases have their receipts after `finish`."""

    def record(self, envelope: Envelope, now: float) -> None:
        """Lead one envelope along its way.

        Raises only what concerns all: the database is away, or refuses a statement outside of any savepoint.
        """
        run_id = envelope.run_id
        run = self._runs.get(run_id)
        page = Ledger()
        noted = page.senders
        is_together = not self._one_by_one and run is not None and is_plain(run, envelope)
        bench = Bench(
            self._connection,
            self._memory,
            self._settings,
            self._taken,
            self._senders,
            page,
            self._is_silenced,
            is_together,
        )
        # A run that lost its detectors to an envelope before reads its rows back, and some may still wait here.
        if not is_together or (run_id in self._ledger.runs and run_id not in self._taken):
            self._ledger.write(self._connection, now)
        try:
            if is_together:
                case = walk(run, run_id, envelope, now, bench)
                self._ledger.take_over(page)
            else:
                with self._connection.begin_nested():
                    case = walk(run, run_id, envelope, now, bench)
                    page.write(self._connection, now)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            if isinstance(error, DBAPIError) and is_together:
                raise
            # What it wrote is taken back; its half-fed detectors go as well.
            self._taken.pop(run_id, None)
            if not isinstance(error, UnknownRun | EnvelopeRefused):
                logger.exception("run %s: an envelope could not be recorded", run_id)
            self.answers.append(error)
        else:
            self._runs[run_id] = case.run
            self._senders |= noted
            self.answers.append(case)

    def _is_silenced(self, run_id: UUID, now: float) -> bool:
        if self._silenced is None:
            self._silenced = silences.silenced(self._connection, self._runs, now)
        return run_id in self._silenced

    def finish(self, now: float, *, pressure: float = 1.0) -> None:
        """Write what is left, and the receipts; the caller commits."""
        self._ledger.write(self._connection, now)
        cases = [one for one in self.answers if isinstance(one, Case)]
        pending = commands.pending_by_run(self._connection, (case.run.run_id for case in cases), now)
        self.answers = [
            answer(one, pending.get(one.run.run_id, ()), self._settings, pressure=pressure)
            if isinstance(one, Case)
            else one
            for one in self.answers
        ]

    def publish(self, memory: LiveMemory) -> None:
        """Put the detectors back, after the commit."""
        for run_id, live in self._taken.items():
            if self._runs[run_id].state in runs.LIVING_STATES:
                memory.publish(live)
