"""The backlog of roll-ups: attempts that were there when an upgrade came, until their roll-ups are known to be whole.

A migration fills it, housekeeping empties it, and nothing is ever added: new observations are rolled up as they come.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection, delete, select

from monitor_server.storage.tables import rollup_backlog


def first(connection: Connection) -> tuple[UUID, int] | None:
    """A run and an attempt of it that is still to be looked at."""
    order = rollup_backlog.c.run_id, rollup_backlog.c.attempt
    found = connection.execute(select(*order).order_by(*order).limit(1)).one_or_none()
    return None if found is None else (found[0], found[1])


def settle(connection: Connection, run_id: UUID, attempt: int) -> None:
    """The attempt's roll-ups are whole."""
    mine = rollup_backlog.c.run_id == run_id, rollup_backlog.c.attempt == attempt
    connection.execute(delete(rollup_backlog).where(*mine))
