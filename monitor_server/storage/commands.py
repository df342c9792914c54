"""Commands: pending until acknowledged or expired, and repeated in every receipt until then."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, select, tuple_, update

from monitor_server.storage.tables import commands
from monitor_server.storage.upsert import insert_new
from trainguard.wire import Acknowledgement, Command


@dataclass(frozen=True, slots=True)
class StoredCommand:
    """A command and what became of it: pending, applied, refused, failed or expired."""

    command: Command
    state: str
    settled_at: float | None


def add(connection: Connection, run_id: UUID, issued: Sequence[Command]) -> None:
    """Record new commands as pending."""
    rows = [
        {
            "run_id": run_id,
            "command_id": command.command_id,
            "state": "pending",
            "attempt": command.attempt,
            "revision": command.revision,
            "issued_at": command.issued_at,
            "expires_at": command.expires_at,
            "document": command,
        }
        for command in issued
    ]
    insert_new(connection, commands, rows)


def pending(connection: Connection, run_id: UUID, now: float) -> list[Command]:
    """Commands of a run neither acknowledged nor expired, the oldest first."""
    return pending_by_run(connection, [run_id], now).get(run_id, [])


def pending_by_run(connection: Connection, run_ids: Iterable[UUID], now: float) -> dict[UUID, list[Command]]:
    """The pending commands of many runs, in one question; runs without one are absent."""
    statement = (
        select(commands.c.run_id, commands.c.document)
        .where(commands.c.run_id.in_(set(run_ids)), commands.c.state == "pending", commands.c.expires_at > now)
        .order_by(commands.c.issued_at, commands.c.command_id)
    )
    found: dict[UUID, list[Command]] = {}
    for run_id, document in connection.execute(statement):
        found.setdefault(run_id, []).append(Command.model_validate(document))
    return found


def settle(connection: Connection, run_id: UUID, answers: Sequence[Acknowledgement], now: float) -> None:
    """Close the commands that were answered. An answer beats an expiry that was written before it came."""
    for answer in answers:
        connection.execute(
            update(commands)
            .where(commands.c.run_id == run_id, commands.c.command_id == answer.command_id)
            .values(state=answer.status, settled_at=now)
        )


def expire(connection: Connection, now: float) -> int:
    """Close every command, of whatever run, whose time is over; how many."""
    due = select(commands.c.run_id, commands.c.command_id).where(
        commands.c.state == "pending", commands.c.expires_at <= now
    )
    if connection.dialect.name == "postgresql":
        # This transaction holds no run's lock: one that waited here could wait in a ring with an envelope's.
        due = due.with_for_update(skip_locked=True)
    keys = [tuple(row) for row in connection.execute(due)]
    if keys:
        named = tuple_(commands.c.run_id, commands.c.command_id).in_(keys)
        connection.execute(update(commands).where(named).values(state="expired", settled_at=now))
    return len(keys)


def of_run(connection: Connection, run_id: UUID, limit: int) -> list[StoredCommand]:
    """The latest commands of a run, in the order of issue."""
    statement = (
        select(commands.c.document, commands.c.state, commands.c.settled_at)
        .where(commands.c.run_id == run_id)
        .order_by(commands.c.issued_at.desc(), commands.c.command_id.desc())
        .limit(limit)
    )
    rows = connection.execute(statement).all()
    return [
        StoredCommand(Command.model_validate(document), state, settled_at)
        for document, state, settled_at in reversed(rows)
    ]
