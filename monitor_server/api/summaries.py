"""From the rows of storage to the answers about a run."""

from __future__ import annotations

import math
from uuid import UUID

from sqlalchemy import Connection

from monitor_server.answers import RecentLoss, RunDetail, RunSummary
from monitor_server.storage import RunRow, buckets, incidents, notes
from monitor_server.storage.buckets import Bucket
from monitor_server.storage.notes import Annotation
from trainguard.wire import IncidentReport

RECENT_STEPS = 1000
"""Steps that a sparkline looks back: read by the key, so a long run costs no more than a short one."""


def summary(
    row: RunRow,
    incident: IncidentReport | None = None,
    recent_loss: RecentLoss | None = None,
    annotation: Annotation | None = None,
) -> RunSummary:
    """A run as a list shows it."""
    return RunSummary(
        run_id=row.run_id,
        run=row.name,
        project=row.project,
        mode=row.described().mode,
        state=row.state,
        attempt=row.attempt,
        revision=row.revision,
        step=row.last_step,
        total_steps=row.described().total_steps,
        loss=row.last_signals.get("loss"),
        lr_scale=row.lr_scale,
        signals=dict(row.last_signals),
        registered_at=row.registered_at,
        last_seen_at=row.last_seen_at,
        last_observed_at=row.last_observed_at,
        ended_at=row.ended_at,
        observations=row.observations_total,
        observations_lost=row.observations_lost,
        rollbacks=row.rollbacks_total,
        escalations=row.escalations_total,
        findings=dict(row.finding_counts),
        last_decision=row.last_decision,
        active_incident=incident,
        recent_loss=recent_loss,
        tags={**row.described().tags, **(annotation.tags if annotation else {})},
        notes=annotation.notes if annotation else "",
        archived_at=annotation.archived_at if annotation else None,
    )


def summaries(connection: Connection, rows: list[RunRow], *, loss_points: int = 0) -> list[RunSummary]:
    """Runs with their gravest incidents, and with ``loss_points`` points of recent loss each where asked for."""
    run_ids = [row.run_id for row in rows]
    gravest = incidents.gravest_active(connection, run_ids)
    said = notes.of_runs(connection, run_ids)
    recent = recent_losses(connection, rows, loss_points) if loss_points else {}
    return [summary(row, gravest.get(row.run_id), recent.get(row.run_id), said.get(row.run_id)) for row in rows]


def detail(connection: Connection, row: RunRow) -> RunDetail:
    """A run with its description."""
    incident = incidents.gravest_active(connection, [row.run_id]).get(row.run_id)
    short = summary(row, incident, annotation=notes.of_runs(connection, [row.run_id]).get(row.run_id))
    return RunDetail(**dict(short), description=row.described())


def recent_losses(connection: Connection, rows: list[RunRow], points: int) -> dict[UUID, RecentLoss]:
    """The loss of each attempt's last `RECENT_STEPS` steps in at most about ``points`` points."""
    found = buckets.read_ends(
        connection, [row.run_id for row in rows], signal="loss", steps=RECENT_STEPS, points=points
    )
    return {row.run_id: _recent_loss(connection, row, found.get(row.run_id, []), points) for row in rows}


def _recent_loss(connection: Connection, row: RunRow, end: list[Bucket], points: int) -> RecentLoss:
    if not end and row.last_step is not None:
        # Retention took its single steps; what they were summed up to is left.
        found = buckets.read(
            connection,
            row.run_id,
            signals=["loss"],
            points=points,
            attempt=row.attempt,
            from_step=row.last_step - RECENT_STEPS + 1,
            to_step=row.last_step,
        )
        end = [bucket for columns in found for bucket in columns.buckets()]
    return RecentLoss(
        steps=[bucket.last_step for bucket in end],
        values=[math.nan if bucket.nan_count.get("loss") else bucket.mean.get("loss", math.nan) for bucket in end],
    )
