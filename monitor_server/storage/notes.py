"""Annotations: what people add to a run, beside what its trainer said of it; and its end, when it is deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from uuid import UUID

from sqlalchemy import Connection, delete, select, tuple_

from monitor_server.storage.tables import findings, observations, rollups, run_annotations, run_tags, runs
from monitor_server.storage.upsert import insert_new, insert_or_replace

LONGEST_TAG_NAME = 200
"""Of a trainer's tags, which may be of any length, longer ones are not found by; an index bears no more."""

_LONG = (observations, rollups, findings)
"""Tables that may hold millions of rows of one run."""


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


def delete_piece(connection: Connection, run_id: UUID, *, rows: int) -> int:
    """Drop some rows of what a run has most of; how many. In pieces, so that nobody waits long for the database."""
    for table in _LONG:
        key = [column for column in table.primary_key if column.name != "run_id"]
        some = select(*key).where(table.c.run_id == run_id).order_by(*key).limit(rows)
        found = connection.execute(some).all()
        if found:
            place = tuple_(*key)
            up_to = place <= tuple(found[-1])
            connection.execute(delete(table).where(table.c.run_id == run_id, up_to))
            return len(found)
    return 0


def delete_run(connection: Connection, run_id: UUID) -> None:
    """Drop the run with everything that belongs to it."""
    connection.execute(delete(runs).where(runs.c.run_id == run_id))
