"""Observations to take away: as CSV or as lines of JSON, streamed, however many there are."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter, ValidationError

from monitor_server.answers import ObservationRow
from monitor_server.api.observations import AttemptQuery, FromStep, ToStep
from monitor_server.api.problems import refused_field
from monitor_server.api.service import PREFIX, Reading, Service
from monitor_server.storage import observations
from trainguard.wire import Observation, SignalName

router = APIRouter(prefix=PREFIX, tags=["observations"])

PAGE = 2000
MOST_SIGNALS = 256
_NAME: TypeAdapter[str] = TypeAdapter(SignalName)


@router.get(
    "/runs/{run_id}/observations/export",
    response_class=Response,
    responses={
        200: {
            "description": "The file.",
            "content": {
                "text/csv": {"schema": {"type": "string"}},
                "application/jsonl": {"schema": {"type": "string"}},
            },
        }
    },
)
def export(
    run_id: UUID,
    service: Reading,
    format: Annotated[Literal["csv", "jsonl"], Query(description="csv: one column per signal.")] = "csv",
    signals: Annotated[
        str, Query(description="Names, with commas between them; default: all that are known.", max_length=8000)
    ] = "",
    attempt: AttemptQuery = None,
    from_step: FromStep = None,
    to_step: ToStep = None,
    every: Annotated[int, Query(ge=1, le=1_000_000, description="Only steps that it divides.")] = 1,
) -> Response:
    """Every observation, in order of (attempt, step), each as it was recorded; NaN is `NaN`, not measured is empty."""
    names = _names(signals)
    with service.reading(run_id) as (connection, row):
        if not names:
            extra = observations.extra_names(connection, run_id)
            names = [*dict.fromkeys((*row.last_signals, *sorted(extra)))]
        file_name = f"{run_id}.{format}"
    rows = _rows(service, run_id, attempt, from_step, to_step, every)
    lines = _csv(rows, names) if format == "csv" else _jsonl(rows, names if signals else None)
    return StreamingResponse(
        lines,
        media_type="text/csv; charset=utf-8" if format == "csv" else "application/jsonl",
        headers={"content-disposition": f'attachment; filename="{file_name}"'},
    )


def _names(signals: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in signals.split(",") if name.strip()))
    if len(names) > MOST_SIGNALS:
        raise refused_field(422, "invalid_request", "signals", f"names {len(names)} signals; {MOST_SIGNALS} at most")
    for name in names:
        try:
            _NAME.validate_python(name)
        except ValidationError:
            raise refused_field(422, "invalid_request", "signals", f"{name!r} cannot be a signal's name") from None
    return names


def _rows(
    service: Service, run_id: UUID, attempt: int | None, from_step: int | None, to_step: int | None, every: int
) -> Iterator[list[Observation]]:
    """Page by page, each in a transaction of its own: a slow reader holds nothing open."""
    after: tuple[int, int] | None = None
    while True:
        with service.database.read() as connection:
            page = observations.read(
                connection, run_id, attempt=attempt, from_step=from_step, to_step=to_step, after=after, limit=PAGE
            )
        yield [row for row in page if row.step % every == 0]
        if len(page) < PAGE:
            return
        after = page[-1].attempt, page[-1].step


def _csv(pages: Iterator[list[Observation]], names: Sequence[str]) -> Iterator[str]:
    yield _line(["attempt", "step", "observed_at", *names])
    for page in pages:
        told = [
            _line([row.attempt, row.step, repr(row.observed_at), *(_cell(row.get(name)) for name in names)])
            for row in page
        ]
        yield "".join(told)


def _jsonl(pages: Iterator[list[Observation]], names: Sequence[str] | None) -> Iterator[str]:
    for page in pages:
        told = []
        for row in page:
            values = {name: value for name, value in row.signals.items() if names is None or name in names}
            model = ObservationRow(attempt=row.attempt, step=row.step, observed_at=row.observed_at, signals=values)
            told.append(model.model_dump_json() + "\n")
        yield "".join(told)


def _line(cells: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue()


def _cell(value: float | None) -> str:
    """As `float` of every language reads it; empty where it was not measured."""
    if value is None:
        return ""
    return "NaN" if math.isnan(value) else repr(value).replace("inf", "Infinity")
