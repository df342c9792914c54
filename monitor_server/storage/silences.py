"""Silences: a person's wish not to be told for a while. They quiet notices, never decisions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from uuid import UUID

from sqlalchemy import Connection, delete, exists, select

from monitor_server.storage.tables import silences


@dataclass(frozen=True, slots=True)
class Silence:
    """Not to be told of a run until ``ends_at`` (seconds since 1970)."""

    run_id: UUID
    silence_id: UUID
    created_at: float
    ends_at: float
    created_by: str
    reason: str


def add(connection: Connection, silence: Silence) -> None:
    """Record a silence."""
    connection.execute(silences.insert().values(asdict(silence)))


def is_silenced(connection: Connection, run_id: UUID, now: float) -> bool:
    """Whether a silence covers the run now."""
    statement = select(exists().where(silences.c.run_id == run_id, silences.c.ends_at > now))
    return bool(connection.execute(statement).scalar_one())


def silenced(connection: Connection, run_ids: Iterable[UUID], now: float) -> set[UUID]:
    """Which of these runs a silence covers now, in one question."""
    statement = select(silences.c.run_id).where(silences.c.run_id.in_(set(run_ids)), silences.c.ends_at > now)
    return set(connection.execute(statement).scalars())


def of_run(connection: Connection, run_id: UUID, limit: int) -> list[Silence]:
    """Silences of a run, in the order in which they were made."""
    statement = select(silences).where(silences.c.run_id == run_id).order_by(silences.c.created_at).limit(limit)
    return [Silence(**row) for row in connection.execute(statement).mappings()]


def lift(connection: Connection, run_id: UUID, silence_id: UUID) -> bool:
    """End a silence; whether there was one."""
    statement = delete(silences).where(silences.c.run_id == run_id, silences.c.silence_id == silence_id)
    return connection.execute(statement).rowcount == 1
