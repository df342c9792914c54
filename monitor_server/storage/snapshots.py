"""Snapshots of a run's panel: where catching up begins, so that it need not begin at step 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, select

from monitor_server.storage.tables import panel_snapshots, runs
from monitor_server.storage.upsert import insert_or_replace

KEPT_PER_RUN = 8


@dataclass(frozen=True, slots=True)
class PanelSnapshot:
    """A panel's state after it had seen ``step`` of ``attempt``; step -1: before the first."""

    attempt: int
    step: int
    code_version: str
    state: Mapping[str, Any]


def save(connection: Connection, run_id: UUID, snapshot: PanelSnapshot, now: float) -> None:
    """Keep a snapshot, and of the older ones only the latest few."""
    row = {
        "run_id": run_id,
        "attempt": snapshot.attempt,
        "step": snapshot.step,
        "taken_at": now,
        "code_version": snapshot.code_version,
        "document": snapshot.state,
    }
    insert_or_replace(connection, panel_snapshots, [row])
    mine = panel_snapshots.c.run_id == run_id
    newest = (
        select(panel_snapshots.c.taken_at)
        .where(mine)
        .order_by(panel_snapshots.c.taken_at.desc())
        .offset(KEPT_PER_RUN)
        .limit(1)
    )
    oldest_kept = connection.execute(newest).scalar_one_or_none()
    if oldest_kept is not None:
        connection.execute(delete(panel_snapshots).where(mine, panel_snapshots.c.taken_at <= oldest_kept))


def latest_before(
    connection: Connection, run_id: UUID, attempt: int, before_step: int | None, code_version: str
) -> PanelSnapshot | None:
    """The latest snapshot of an attempt before ``before_step`` (None: of all) that this version made."""
    statement = select(
        panel_snapshots.c.attempt,
        panel_snapshots.c.step,
        panel_snapshots.c.code_version,
        panel_snapshots.c.document,
    ).where(
        panel_snapshots.c.run_id == run_id,
        panel_snapshots.c.attempt == attempt,
        panel_snapshots.c.code_version == code_version,
    )
    if before_step is not None:
        statement = statement.where(panel_snapshots.c.step < before_step)
    row = connection.execute(statement.order_by(panel_snapshots.c.step.desc()).limit(1)).one_or_none()
    return None if row is None else PanelSnapshot(*row)


def prune(connection: Connection, *, ended_before: float) -> int:
    """Drop the snapshots of runs that ended before ``ended_before``; how many. A resumed one replays instead."""
    ended = select(runs.c.run_id).where(runs.c.ended_at < ended_before)
    return max(0, connection.execute(delete(panel_snapshots).where(panel_snapshots.c.run_id.in_(ended))).rowcount)
