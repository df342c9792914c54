"""Election: of all processes over one PostgreSQL, one does the housekeeping."""

from __future__ import annotations

import logging
from contextlib import suppress

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from monitor_server.storage.database import Database

logger = logging.getLogger(__name__)

_ADVISORY_LOCK = 7_265_012_115  # the next after the one of migrations


class Election:
    """Whoever holds an advisory lock is elected, on a connection that it keeps for that.

    The lock ends with the connection: a process that is killed is followed by another at its next round. On
    SQLite, where one process is all there is, it is always elected.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seat: Connection | None = None
        database.before_close(self.resign)

    def is_won(self) -> bool:
        """Whether this process is elected now.

        Raises `DatabaseUnavailable` where nobody can tell.
        """
        if self._database.is_sqlite:
            return True
        if self._seat is not None:
            try:
                self._seat.execute(text("SELECT 1"))
            except DBAPIError:
                # The lock went with the connection.
                self.resign()
            else:
                return True
        with self._database.translated():
            seat = self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            try:
                won = bool(
                    seat.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _ADVISORY_LOCK}).scalar_one()
                )
            except BaseException:
                seat.close()
                raise
        if not won:
            seat.close()
            return False
        logger.info("this process does the housekeeping from now on")
        self._seat = seat
        return True

    def resign(self) -> None:
        """Give the seat up, so that another process may take it at once."""
        seat, self._seat = self._seat, None
        if seat is None:
            return
        with suppress(SQLAlchemyError):
            seat.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _ADVISORY_LOCK})
        with suppress(SQLAlchemyError):
            # Not back to the pool: where that failed, the lock would stay with it.
            seat.invalidate()
        with suppress(SQLAlchemyError):
            seat.close()
