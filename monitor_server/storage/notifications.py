"""The outbox: what people are to be told, written in the same transaction as what it tells of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, exists, func, select, update

from monitor_server.storage.tables import notifications
from monitor_server.storage.upsert import insert_new


@dataclass(frozen=True, slots=True)
class Notification:
    """One message for one notifier. ``document`` is what is sent."""

    run_id: UUID
    notification_id: UUID
    notifier: str
    event: str
    created_at: float
    document: Mapping[str, Any]
    tries: int = 0


def post(connection: Connection, letters: Sequence[Notification]) -> None:
    """Put messages into the outbox, due at once."""
    rows = [
        {
            "run_id": letter.run_id,
            "notification_id": letter.notification_id,
            "notifier": letter.notifier,
            "event": letter.event,
            "state": "pending",
            "created_at": letter.created_at,
            "due_at": letter.created_at,
            "tries": 0,
            "last_error": "",
            "document": letter.document,
        }
        for letter in letters
    ]
    insert_new(connection, notifications, rows)


def is_any_due(connection: Connection, now: float) -> bool:
    """Whether a courier has anything to do; asked often, so that only then a write transaction begins."""
    due = select(exists().where(notifications.c.state == "pending", notifications.c.due_at <= now))
    return bool(connection.execute(due).scalar_one())


def claim(connection: Connection, now: float, *, hold_seconds: float, limit: int = 20) -> list[Notification]:
    """Take due messages, and put them off by ``hold_seconds``, so that no other courier sends them meanwhile."""
    statement = (
        select(
            notifications.c.run_id,
            notifications.c.notification_id,
            notifications.c.notifier,
            notifications.c.event,
            notifications.c.created_at,
            notifications.c.document,
            notifications.c.tries,
        )
        .where(notifications.c.state == "pending", notifications.c.due_at <= now)
        .order_by(notifications.c.due_at, notifications.c.created_at)
        .limit(limit)
    )
    if connection.dialect.name == "postgresql":
        statement = statement.with_for_update(skip_locked=True)
    letters = [Notification(*row) for row in connection.execute(statement)]
    for letter in letters:
        _change(connection, letter, {"due_at": now + hold_seconds})
    return letters


def delivered(connection: Connection, letter: Notification) -> None:
    """The message arrived."""
    _change(connection, letter, {"state": "sent", "tries": letter.tries + 1, "last_error": ""})


def failed(connection: Connection, letter: Notification, error: str, *, retry_at: float | None) -> None:
    """The message did not arrive: try again at ``retry_at``, or give it up (None)."""
    values: dict[str, Any] = {"tries": letter.tries + 1, "last_error": error[:1000]}
    values |= {"state": "abandoned"} if retry_at is None else {"due_at": retry_at}
    _change(connection, letter, values)


def of_run(connection: Connection, run_id: UUID, limit: int) -> list[Mapping[str, Any]]:
    """What was and is to be told of a run, in the order of time, with its fate."""
    statement = (
        select(notifications)
        .where(notifications.c.run_id == run_id)
        .order_by(notifications.c.created_at, notifications.c.notification_id)
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(statement).mappings()]


def counts_by_state(connection: Connection) -> dict[str, int]:
    """How many messages are pending, sent and abandoned."""
    rows = connection.execute(select(notifications.c.state, func.count()).group_by(notifications.c.state))
    return {row[0]: row[1] for row in rows}


def prune(connection: Connection, *, created_before: float) -> int:
    """Forget messages, delivered or given up, from before ``created_before``; how many."""
    old = delete(notifications).where(notifications.c.state != "pending", notifications.c.created_at < created_before)
    return max(0, connection.execute(old).rowcount)


def _change(connection: Connection, letter: Notification, values: Mapping[str, Any]) -> None:
    connection.execute(
        update(notifications)
        .where(
            notifications.c.run_id == letter.run_id,
            notifications.c.notification_id == letter.notification_id,
        )
        .values(**values)
    )
