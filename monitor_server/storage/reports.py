"""What a trainer tells beside its observations: evaluations, findings, checkpoints, acknowledgements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection, func, select

from monitor_server.storage.runs import LIVING_STATES
from monitor_server.storage.tables import acknowledgements, checkpoints, evaluations, findings, runs
from monitor_server.storage.upsert import insert_new, insert_or_replace
from trainguard.wire import Acknowledgement, CheckpointReport, Evaluation, Finding

Source = Literal["server", "trainer"]

KNOWN_CHECKPOINTS = 1000
"""Checkpoints that policy is shown, the newest first: more than any ladder reaches back."""


@dataclass(frozen=True, slots=True)
class StoredFinding:
    """A finding, whose panel saw it, and when it was recorded."""

    finding: Finding
    source: Source
    recorded_at: float


def add_evaluations(connection: Connection, run_id: UUID, reports: Sequence[Evaluation]) -> None:
    """Record evaluations once each."""
    rows = [
        {
            "run_id": run_id,
            "attempt": report.attempt,
            "step": report.step,
            "evaluated_at": report.evaluated_at,
            "document": report,
        }
        for report in reports
    ]
    insert_new(connection, evaluations, rows)


def evaluations_of(connection: Connection, run_id: UUID, limit: int) -> list[Evaluation]:
    """The latest evaluations, in order of (attempt, step)."""
    statement = (
        select(evaluations.c.document)
        .where(evaluations.c.run_id == run_id)
        .order_by(evaluations.c.attempt.desc(), evaluations.c.step.desc(), evaluations.c.evaluated_at.desc())
        .limit(limit)
    )
    rows = connection.execute(statement).all()
    return [Evaluation.model_validate(document) for (document,) in reversed(rows)]


def add_findings(connection: Connection, run_id: UUID, reports: Sequence[Finding], source: Source, now: float) -> None:
    """Record findings once each: attempt, step, detector and kind name one."""
    rows = [
        {
            "run_id": run_id,
            "attempt": report.attempt,
            "step": report.step,
            "source": source,
            "detector": report.detector,
            "kind": report.kind,
            "severity": report.severity,
            "onset_step": report.onset_step,
            "recorded_at": now,
            "document": report,
        }
        for report in reports
    ]
    insert_new(connection, findings, rows)


def findings_of(connection: Connection, run_id: UUID, *, source: Source | None, limit: int) -> list[StoredFinding]:
    """The latest findings, in order of (attempt, step)."""
    key = findings.c.attempt, findings.c.step, findings.c.detector, findings.c.kind, findings.c.source
    statement = (
        select(findings.c.document, findings.c.source, findings.c.recorded_at)
        .where(findings.c.run_id == run_id)
        .order_by(*(column.desc() for column in key))
        .limit(limit)
    )
    if source is not None:
        statement = statement.where(findings.c.source == source)
    rows = connection.execute(statement).all()
    return [
        StoredFinding(Finding.model_validate(document), stored, recorded_at)
        for document, stored, recorded_at in reversed(rows)
    ]


def findings_about(
    connection: Connection,
    run_id: UUID,
    *,
    source: Source,
    kinds: Sequence[str],
    from_step: int,
    recorded_from: float,
    recorded_to: float,
    limit: int,
) -> list[StoredFinding]:
    """The first findings of these kinds, of a warning at least, in the order in which they were recorded.

    Times in seconds since 1970 (UTC), both inclusive, and of the service's clock.
    """
    statement = (
        select(findings.c.document, findings.c.source, findings.c.recorded_at)
        .where(
            findings.c.run_id == run_id,
            findings.c.source == source,
            findings.c.kind.in_(kinds),
            findings.c.severity != "info",
            findings.c.step >= from_step,
            findings.c.recorded_at >= recorded_from,
            findings.c.recorded_at <= recorded_to,
        )
        .order_by(findings.c.recorded_at, findings.c.attempt, findings.c.step)
        .limit(limit)
    )
    return [
        StoredFinding(Finding.model_validate(document), stored, recorded_at)
        for document, stored, recorded_at in connection.execute(statement)
    ]


def save_checkpoints(connection: Connection, run_id: UUID, reports: Sequence[CheckpointReport]) -> None:
    """Record checkpoints; the latest report of one replaces the earlier."""
    latest = {report.checkpoint_id: report for report in reports}
    rows = [
        {
            "run_id": run_id,
            "checkpoint_id": report.checkpoint_id,
            "attempt": report.attempt,
            "step": report.step,
            "state": report.state,
            "document": report,
        }
        for report in latest.values()
    ]
    insert_or_replace(connection, checkpoints, rows)


def checkpoints_of(
    connection: Connection, run_id: UUID, *, removed_too: bool = False, limit: int = KNOWN_CHECKPOINTS
) -> list[CheckpointReport]:
    """The newest checkpoints, in order of (attempt, step)."""
    statement = select(checkpoints.c.document).where(checkpoints.c.run_id == run_id)
    if not removed_too:
        statement = statement.where(checkpoints.c.state != "removed")
    statement = statement.order_by(
        checkpoints.c.attempt.desc(), checkpoints.c.step.desc(), checkpoints.c.checkpoint_id
    ).limit(limit)
    rows = connection.execute(statement).all()
    return [CheckpointReport.model_validate(document) for (document,) in reversed(rows)]


def add_acknowledgements(
    connection: Connection, run_id: UUID, reports: Sequence[Acknowledgement]
) -> list[Acknowledgement]:
    """Record acknowledgements; the first of a command wins. The new ones, in order."""
    new = []
    for report in reports:
        row = {
            "run_id": run_id,
            "command_id": report.command_id,
            "status": report.status,
            "handled_at": report.handled_at,
            "document": report,
        }
        if insert_new(connection, acknowledgements, [row]) == 1:
            new.append(report)
    return new


def acknowledgements_of(connection: Connection, run_id: UUID, limit: int) -> list[Acknowledgement]:
    """The latest acknowledgements, in the order in which the trainer handled the commands."""
    statement = (
        select(acknowledgements.c.document)
        .where(acknowledgements.c.run_id == run_id)
        .order_by(acknowledgements.c.handled_at.desc(), acknowledgements.c.command_id.desc())
        .limit(limit)
    )
    rows = connection.execute(statement).all()
    return [Acknowledgement.model_validate(document) for (document,) in reversed(rows)]


def failed_recoveries(connection: Connection, *, ended_after: float) -> dict[UUID, int]:
    """How many remedies, of whichever brain, the trainer could not carry out: of runs that live, or that ended after
    ``ended_after``. Runs without one are absent."""
    statement = (
        select(acknowledgements.c.run_id, func.count())
        .join(runs, runs.c.run_id == acknowledgements.c.run_id)
        .where(acknowledgements.c.status == "failed", runs.c.state.in_(LIVING_STATES) | (runs.c.ended_at > ended_after))
        .group_by(acknowledgements.c.run_id)
    )
    return {row[0]: row[1] for row in connection.execute(statement)}
