"""The housekeeper: does every chore from time to time, each in a transaction of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from monitor_server.housekeeping.chore import Chore, Desk
from monitor_server.housekeeping.table import CHORES
from monitor_server.settings import Settings
from monitor_server.storage import Database, DatabaseUnavailable, Election

logger = logging.getLogger(__name__)


PAUSE_SECONDS = 0.02
"""Between two pieces of a chore, so that envelopes which wait for the writer of SQLite come first."""


class Housekeeper:
    """One thread per process; of all processes over one database, the elected one works."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        clock: Callable[[], float],
        chores: Sequence[Chore] = CHORES,
    ) -> None:
        self._database = database
        self._election = Election(database)
        self._settings = settings
        self._clock = clock
        self._chores = chores
        self._started_at = clock()
        self._done_at: dict[str, float] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="trainguard-housekeeper", daemon=True)

    def start(self) -> None:
        """Begin; the first round comes after the first pause."""
        self._thread.start()

    def stop(self, *, timeout_seconds: float = 10.0) -> None:
        """Finish the chore in hand, and end."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        self._election.resign()

    def do_round(self) -> None:
        """Do every chore that is due, if elected. One that fails keeps none of the others from being done."""
        try:
            if not self._election.is_won():
                return
        except DatabaseUnavailable as error:
            logger.warning("housekeeping waits: %s", error)
            return
        for chore in self._chores:
            now = self._clock()
            # A clock that was set back is no reason to wait until it has caught up.
            if 0.0 <= now - self._done_at.get(chore.name, float("-inf")) < chore.every_seconds:
                continue
            try:
                done = self._do(chore, now)
            except DatabaseUnavailable as error:
                logger.warning("chore %r waits: %s", chore.name, error)
            except Exception:
                logger.exception("chore %r failed; the others go on", chore.name)
            else:
                self._done_at[chore.name] = now
                if done:
                    logger.info("chore %r: %d", chore.name, done)

    def _do(self, chore: Chore, now: float) -> int:
        done = 0
        for piece in range(chore.pieces):
            if piece and self._closing.wait(PAUSE_SECONDS):
                break
            with self._database.write() as connection:
                more = chore.work(Desk(connection, self._settings, now, self._started_at))
            done += more
            if not more:
                break
        return done

    def _work(self) -> None:
        while not self._closing.wait(self._settings.housekeeping_seconds):
            self.do_round()
