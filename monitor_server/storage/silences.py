"""Silences: a person's wish not to be told for a while. They quiet notices, never decisions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, delete, exists, or_, select

from monitor_server.storage.tables import runs, silences


@dataclass(frozen=True, slots=True)
class Silence:
    """Not to be told until ``ends_at`` (seconds since 1970) of what fits run, project and kind; None fits all."""

    silence_id: UUID
    created_at: float
    ends_at: float
    created_by: str
    reason: str
    run_id: UUID | None = None
    project: str | None = None
    kind: str | None = None


def add(connection: Connection, silence: Silence) -> None:
    """Record a silence."""
    connection.execute(silences.insert().values(asdict(silence)))


def is_silenced(connection: Connection, run_id: UUID, now: float) -> bool:
    """Whether a silence covers the run now, whatever is the matter with it."""
    statement = select(exists().where(_covers(run_id, now), silences.c.kind.is_(None)))
    return bool(connection.execute(statement).scalar_one())


def silenced(connection: Connection, run_ids: Iterable[UUID], now: float) -> set[UUID]:
    """Which of these runs a silence covers now, whatever is the matter with them; in one question."""
    covered = exists().where(
        silences.c.ends_at > now,
        silences.c.kind.is_(None),
        or_(silences.c.run_id.is_(None), silences.c.run_id == runs.c.run_id),
        or_(silences.c.project.is_(None), silences.c.project == runs.c.project),
    )
    return set(connection.execute(select(runs.c.run_id).where(runs.c.run_id.in_(set(run_ids)), covered)).scalars())


def silenced_kinds(connection: Connection, run_id: UUID, now: float) -> frozenset[str]:
    """The kinds of trouble that people do not want to be told of for this run now."""
    statement = select(silences.c.kind).where(_covers(run_id, now), silences.c.kind.is_not(None))
    return frozenset(kind for (kind,) in connection.execute(statement))


def listing(
    connection: Connection,
    *,
    now: float,
    ended_too: bool = False,
    run_id: UUID | None = None,
    project: str | None = None,
    limit: int = 1000,
) -> list[Silence]:
    """Silences in the order in which they were made.

    With ``run_id`` those that name this run; with ``project`` those that name it or a run of it.
    """
    statement = select(silences).order_by(silences.c.created_at, silences.c.silence_id).limit(limit)
    if not ended_too:
        statement = statement.where(silences.c.ends_at > now)
    if run_id is not None:
        statement = statement.where(silences.c.run_id == run_id)
    if project is not None:
        of_project = select(runs.c.run_id).where(runs.c.project == project)
        statement = statement.where(or_(silences.c.project == project, silences.c.run_id.in_(of_project)))
    return [Silence(**row) for row in connection.execute(statement).mappings()]


def load(connection: Connection, silence_id: UUID) -> Silence | None:
    """One silence, or None."""
    row = connection.execute(select(silences).where(silences.c.silence_id == silence_id)).mappings().one_or_none()
    return None if row is None else Silence(**row)


def lift(connection: Connection, silence_id: UUID) -> bool:
    """End a silence; whether there was one."""
    return connection.execute(delete(silences).where(silences.c.silence_id == silence_id)).rowcount == 1


def prune(connection: Connection, *, ended_before: float) -> int:
    """Forget silences that ended before ``ended_before``; how many."""
    return max(0, connection.execute(delete(silences).where(silences.c.ends_at < ended_before)).rowcount)


def _covers(run_id: UUID, now: float) -> ColumnElement[bool]:
    project = select(runs.c.project).where(runs.c.run_id == run_id).scalar_subquery()
    return (
        (silences.c.ends_at > now)
        & or_(silences.c.run_id.is_(None), silences.c.run_id == run_id)
        & or_(silences.c.project.is_(None), silences.c.project == project)
    )
