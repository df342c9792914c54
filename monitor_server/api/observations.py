"""What was measured: in buckets for a chart, in rows for a program."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from monitor_server.answers import (
    AttemptBuckets,
    ObservationBuckets,
    ObservationRow,
    ObservationRows,
    SignalBuckets,
)
from monitor_server.api.cursors import read_step_cursor, step_cursor
from monitor_server.api.problems import refused_field
from monitor_server.api.service import PREFIX, Limit, Reading, answer
from monitor_server.storage import buckets, observations
from monitor_server.storage.buckets import Columns
from trainguard.wire import STANDARD_SIGNALS
from trainguard.wire.base import Attempt, Step

router = APIRouter(prefix=PREFIX, tags=["observations"])

MOST_NAMED = 50
"""Signals of its own that a run is told to have, where it was asked for another."""

AttemptQuery = Annotated[Attempt | None, Query(description="Only this attempt.")]
FromStep = Annotated[Step | None, Query(description="From this step on.")]
ToStep = Annotated[Step | None, Query(description="To this step, inclusive.")]


@router.get("/runs/{run_id}/observations", response_model=ObservationBuckets)
def chart(
    run_id: UUID,
    service: Reading,
    signals: Annotated[str, Query(description="Names, with commas between them.", max_length=1000)] = "loss",
    attempt: AttemptQuery = None,
    from_step: FromStep = None,
    to_step: ToStep = None,
    points: Annotated[int, Query(ge=1, le=5000, description="Buckets per attempt, at most about so many.")] = 500,
) -> Response:
    """The smallest, largest and mean value of every signal, over buckets of neighbouring steps.

    A range of at most ``points`` steps comes back step by step. Besides the standard signals, whatever the run sends
    may be asked for.
    """
    names = list(dict.fromkeys(name.strip() for name in signals.split(",") if name.strip()))
    with service.reading(run_id) as (connection, _):
        others = [name for name in names if name not in STANDARD_SIGNALS]
        known = buckets.other_names(connection, run_id) if others else set()
        for name in others:
            if name not in known:
                told = ", ".join((*STANDARD_SIGNALS, *sorted(known)[:MOST_NAMED]))
                message = f"{name!r} is nothing that this run measures; known are {told}"
                raise refused_field(422, "invalid_request", "signals", message)
        found = buckets.read(
            connection,
            run_id,
            signals=names,
            points=points,
            attempt=attempt,
            from_step=from_step,
            to_step=to_step,
        )
    attempts = [_of_attempt(columns) for columns in found]
    return answer(ObservationBuckets(run_id=run_id, attempts=attempts))


@router.get("/runs/{run_id}/observations/rows", response_model=ObservationRows)
def rows(
    run_id: UUID,
    service: Reading,
    attempt: AttemptQuery = None,
    from_step: FromStep = None,
    to_step: ToStep = None,
    limit: Limit = 1000,
    cursor: Annotated[str | None, Query(description="`next` of the page before.", max_length=200)] = None,
) -> Response:
    """Every observation as it was recorded, with all its signals."""
    with service.reading(run_id) as (connection, _):
        found = observations.read(
            connection,
            run_id,
            attempt=attempt,
            from_step=from_step,
            to_step=to_step,
            after=read_step_cursor(cursor) if cursor is not None else None,
            limit=limit + 1,
        )
    page = found[:limit]
    further = step_cursor(page[-1].attempt, page[-1].step) if len(found) > limit else None
    told = [
        ObservationRow(attempt=row.attempt, step=row.step, observed_at=row.observed_at, signals=dict(row.signals))
        for row in page
    ]
    return answer(ObservationRows(rows=told, next=further))


def _of_attempt(columns: Columns) -> AttemptBuckets:
    return AttemptBuckets(
        attempt=columns.attempt,
        first_steps=columns.first_steps,
        last_steps=columns.last_steps,
        counts=columns.counts,
        signals={
            name: SignalBuckets(minimum=told.minimum, maximum=told.maximum, mean=told.mean, nan_count=told.nan_count)
            for name, told in columns.signals.items()
        },
    )
