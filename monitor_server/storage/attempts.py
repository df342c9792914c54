"""The attempts of a run: the branches of its history."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, select

from monitor_server.storage.tables import attempts
from monitor_server.storage.upsert import insert_new, insert_or_replace
from trainguard.wire import AttemptReport


def save(connection: Connection, run_id: UUID, reports: Sequence[AttemptReport]) -> None:
    """Record what the trainer reports; a later report of the same attempt replaces an earlier one."""
    # One statement cannot replace the same row twice.
    latest = {report.attempt: report for report in reports}
    insert_or_replace(connection, attempts, [_values(run_id, report) for report in latest.values()])


def assume(connection: Connection, run_id: UUID, report: AttemptReport) -> None:
    """Record an attempt that was seen but never reported, unless it is known."""
    insert_new(connection, attempts, [_values(run_id, report)])


def of_run(connection: Connection, run_id: UUID) -> list[AttemptReport]:
    """Every attempt, in order."""
    columns = [column for column in attempts.c if column.name != "run_id"]
    statement = select(*columns).where(attempts.c.run_id == run_id).order_by(attempts.c.attempt)
    return [AttemptReport.model_validate(dict(row)) for row in connection.execute(statement).mappings()]


def _values(run_id: UUID, report: AttemptReport) -> dict[str, object]:
    return {"run_id": run_id, **report.model_dump()}
