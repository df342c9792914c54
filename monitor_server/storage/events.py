"""Events: what changed, in the order of its commits, so that whoever listens misses nothing and reads nothing twice.

A number that the database counts up is taken before the commit, and two transactions may commit the other way
round: a reader that has seen 6 would never see 5. SQLite has one writer, so that its numbers are in order. On
PostgreSQL an event also bears the number of its transaction, and only those of transactions are read before which
none is still running: below that mark nothing can appear any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, delete, func, insert, literal_column, select, text, tuple_

from monitor_server.storage.database import EVENTS_WRITTEN
from monitor_server.storage.tables import events

CHANNEL = "trainguard_events"
"""What PostgreSQL is asked to NOTIFY, and what listeners LISTEN to."""

Place = tuple[int, int]
"""Where an event stands in the order: (transaction, event)."""

BEGINNING: Place = (0, 0)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that changed. ``document`` is the thing as it is now, as the API tells it."""

    kind: str
    project: str
    run_id: UUID | None
    happened_at: float
    document: Mapping[str, Any]
    place: Place = BEGINNING


def add(connection: Connection, happened: Sequence[Event]) -> None:
    """Record events; listeners of every process are woken by the commit."""
    if not happened:
        return
    rows = [
        {
            "happened_at": event.happened_at,
            "kind": event.kind,
            "project": event.project,
            "run_id": event.run_id,
            "document": event.document,
        }
        for event in happened
    ]
    if connection.dialect.name == "postgresql":
        number = connection.execute(text("SELECT pg_current_xact_id()::text::bigint")).scalar_one()
        connection.execute(insert(events), [{**row, "transaction_id": number} for row in rows])
        connection.execute(select(func.pg_notify(CHANNEL, "")))
    else:
        connection.execute(insert(events), [{**row, "transaction_id": 0} for row in rows])
    connection.info[EVENTS_WRITTEN] = True


def after(
    connection: Connection,
    place: Place,
    *,
    run_id: UUID | None = None,
    project: str | None = None,
    kinds: Sequence[str] = (),
    limit: int = 200,
) -> list[Event]:
    """The next events behind ``place``, in order."""
    statement = (
        select(events)
        .where(tuple_(events.c.transaction_id, events.c.event_id) > place)
        .order_by(events.c.transaction_id, events.c.event_id)
        .limit(limit)
    )
    statement = _settled(connection, statement)
    if run_id is not None:
        statement = statement.where(events.c.run_id == run_id)
    if project is not None:
        statement = statement.where(events.c.project == project)
    if kinds:
        statement = statement.where(events.c.kind.in_(kinds))
    return [
        Event(
            kind=row["kind"],
            project=row["project"],
            run_id=row["run_id"],
            happened_at=row["happened_at"],
            document=row["document"],
            place=(row["transaction_id"], row["event_id"]),
        )
        for row in connection.execute(statement).mappings()
    ]


def ends(connection: Connection) -> tuple[Place, Place]:
    """Places of the oldest and the newest event that can be read; `BEGINNING` twice where there is none."""
    found = []
    for order in (
        (events.c.transaction_id, events.c.event_id),
        (events.c.transaction_id.desc(), events.c.event_id.desc()),
    ):
        statement = select(events.c.transaction_id, events.c.event_id).order_by(*order).limit(1)
        row = connection.execute(_settled(connection, statement)).one_or_none()
        found.append(BEGINNING if row is None else (row[0], row[1]))
    return found[0], found[1]


def forget_run(connection: Connection, run_id: UUID) -> None:
    """Drop the events of a run that is deleted."""
    connection.execute(delete(events).where(events.c.run_id == run_id))


def prune(connection: Connection, *, happened_before: float) -> int:
    """Forget events from before ``happened_before``; how many."""
    return max(0, connection.execute(delete(events).where(events.c.happened_at < happened_before)).rowcount)


def _settled(connection: Connection, statement: Any) -> Any:
    """Only events before which no transaction is still running."""
    if connection.dialect.name != "postgresql":
        return statement
    mark: ColumnElement[int] = literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
    return statement.where(events.c.transaction_id < mark)
