"""What retention asks: which observations are past their time, and how to drop them in pieces."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import Connection, and_, delete, exists, func, or_, select

from monitor_server.storage.rollups import WIDTHS
from monitor_server.storage.tables import observations, rollup_backlog, rollups, runs

EVERY_OTHER = "*"
"""Stands for the projects that are not named."""


def next_due(connection: Connection, ended_before: Mapping[str, float]) -> tuple[UUID, int, int] | None:
    """A run, an attempt of it with observations that are past their time, and the attempt's last step.

    ``ended_before`` says by project when a run must have ended, or fallen silent, for that. A run whose roll-ups may
    not be whole has to wait: they are all that its charts will be made of.
    """
    named = [project for project in ended_before if project != EVERY_OTHER]
    wishes = [
        and_(
            runs.c.project.not_in(named) if project == EVERY_OTHER else runs.c.project == project,
            or_(runs.c.ended_at < before, and_(runs.c.state == "silent", runs.c.last_seen_at < before)),
        )
        for project, before in ended_before.items()
    ]
    mine = select(observations.c.attempt).where(observations.c.run_id == runs.c.run_id)
    first = mine.order_by(observations.c.attempt).limit(1).correlate(runs).scalar_subquery()
    is_whole = ~exists().where(rollup_backlog.c.run_id == runs.c.run_id)
    statement = select(runs.c.run_id, first.label("attempt")).where(or_(*wishes), is_whole, first.is_not(None))
    found = connection.execute(statement.limit(1)).one_or_none()
    if found is None:
        return None
    run_id, attempt = found
    last = select(func.max(observations.c.step)).where(
        observations.c.run_id == run_id, observations.c.attempt == attempt
    )
    return run_id, attempt, connection.execute(last).scalar_one()


def is_rolled_up(connection: Connection, run_id: UUID, attempt: int, last_step: int) -> bool:
    """Whether the narrowest roll-ups reach to the attempt's last step."""
    reach = select(func.max(rollups.c.last_step)).where(
        rollups.c.run_id == run_id, rollups.c.attempt == attempt, rollups.c.width == WIDTHS[0]
    )
    reached = connection.execute(reach).scalar_one()
    return reached is not None and reached >= last_step


def drop(connection: Connection, run_id: UUID, attempt: int, rows: int) -> int:
    """Delete the attempt's first observations, at most so many; how many."""
    mine = observations.c.run_id == run_id, observations.c.attempt == attempt
    beyond = select(observations.c.step).where(*mine).order_by(observations.c.step).offset(rows).limit(1)
    kept_from = connection.execute(beyond).scalar_one_or_none()
    statement = delete(observations).where(*mine)
    if kept_from is not None:
        statement = statement.where(observations.c.step < kept_from)
    return connection.execute(statement).rowcount
