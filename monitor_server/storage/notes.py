"""Annotations: what people add to a run, beside what its trainer said of it; and its end, when it is deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from uuid import UUID

from sqlalchemy import Connection, delete, select, tuple_

from monitor_server.storage.tables import observations, run_annotations, run_tags, runs
from monitor_server.storage.upsert import insert_new, insert_or_replace

LONGEST_TAG_NAME = 200
"""Of a trainer's tags, which may be of any length, longer ones are not found by; an index bears no more."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """Tags, notes and whether the run is put away. Times in seconds since 1970 (UTC)."""

    run_id: UUID
    tags: Mapping[str, str] = field(default_factory=dict)
    notes: str = ""
    archived_at: float | None = None
    changed_at: float = 0.0
    changed_by: str = ""


def of_runs(connection: Connection, run_ids: Iterable[UUID]) -> dict[UUID, Annotation]:
    """The annotations of these runs; runs without one are absent."""
    statement = select(run_annotations).where(run_annotations.c.run_id.in_(set(run_ids)))
    return {row["run_id"]: Annotation(**row) for row in connection.execute(statement).mappings()}


def save(connection: Connection, annotation: Annotation) -> None:
    """Write what people say of a run; its trainer's tags are found by as before."""
    insert_or_replace(connection, run_annotations, [asdict(annotation)])
    description = connection.execute(
        select(runs.c.description).where(runs.c.run_id == annotation.run_id)
    ).scalar_one_or_none()
    index_tags(connection, annotation.run_id, {**((description or {}).get("tags") or {}), **annotation.tags})


def index_tags(connection: Connection, run_id: UUID, tags: Mapping[str, str]) -> None:
    """Let a run be found by these tags and no others."""
    connection.execute(delete(run_tags).where(run_tags.c.run_id == run_id))
    rows = [
        {"run_id": run_id, "name": name, "value": str(value)}
        for name, value in tags.items()
        if len(name) <= LONGEST_TAG_NAME
    ]
    insert_new(connection, run_tags, rows)


def delete_observations(connection: Connection, run_id: UUID, *, limit: int) -> int:
    """Drop some of a run's observations; how many. In pieces, so that nobody waits long for the database."""
    some = select(observations.c.attempt, observations.c.step).where(observations.c.run_id == run_id).limit(limit)
    keys = [tuple(row) for row in connection.execute(some)]
    if keys:
        first, last = min(keys), max(keys)
        place = tuple_(observations.c.attempt, observations.c.step)
        connection.execute(delete(observations).where(observations.c.run_id == run_id, place >= first, place <= last))
    return len(keys)


def delete_run(connection: Connection, run_id: UUID) -> None:
    """Drop the run with everything that belongs to it."""
    connection.execute(delete(runs).where(runs.c.run_id == run_id))
