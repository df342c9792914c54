"""Charts of a very long run: every width of window, at 2,000 points."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import Connection, text

from benchmarks.server.envelopes import run_ids
from benchmarks.server.services import Service
from benchmarks.server.throughput import SEED, enlist
from monitor_server.storage import Database, attempts
from monitor_server.storage.rollups import WIDTHS
from monitor_server.storage.tables import SIGNAL_BITS
from trainguard.wire import AttemptReport

POINTS = 2000
SIGNALS = (
    "loss",
    "grad_norm",
    "param_norm",
    "update_norm",
    "update_ratio",
    "learning_rate",
    "lr_scale",
    "step_seconds",
)
_STEPS_AT_ONCE = 500_000


def run(service: Service, address: str, *, steps: int) -> dict[str, Any]:
    """Milliseconds of a chart over HTTP, the median of three, for the whole run and for ever narrower windows."""
    [run_id] = run_ids(1, seed=SEED + 2)
    began = time.perf_counter()
    _make(address, run_id, steps)
    made_in = time.perf_counter() - began
    answers: dict[str, float] = {}
    with httpx.Client(base_url=service.url, timeout=60.0, trust_env=False) as client:
        for name, signals, from_step, to_step in _windows(steps):
            path = f"/api/v1/runs/{run_id}/observations?signals={signals}&points={POINTS}"
            path += f"&from_step={from_step}&to_step={to_step}"
            took = []
            for _ in range(3):
                asked = time.perf_counter()
                answer = client.get(path).raise_for_status()
                took.append(1000 * (time.perf_counter() - asked))
            [attempt] = answer.json()["attempts"]
            assert sum(attempt["counts"]) == to_step - from_step + 1, "every step is in the chart"
            answers[f"{name}, {len(attempt['counts'])} points"] = sorted(took)[1]
    return {"steps": steps, "made_in_seconds": made_in, "answers_ms": answers}


def _windows(steps: int) -> Iterator[tuple[str, str, int, int]]:
    few, several = "loss", ",".join(SIGNALS[:4])
    yield "the whole run", few, 0, steps - 1
    yield "the whole run, four signals", several, 0, steps - 1
    middle = steps // 2 + 17
    width = steps // 2 - 17
    # By less than half each time, so that the windows fall anywhere between two widths of roll-ups.
    while width >= 1000:
        yield f"{width:,} steps of the middle", few, middle, middle + width - 1
        yield f"{width:,} steps of the middle, four signals", several, middle, middle + width - 1
        width = width * 4 // 7
    # Where a chart turns from observations to roll-ups.
    for width in (15_000, 21_800, 32_000, 43_600, 63_900):
        yield f"{width:,} steps of the middle", few, middle, middle + width - 1
        yield f"{width:,} steps of the middle, four signals", several, middle, middle + width - 1


def _make(address: str, run_id: UUID, steps: int) -> None:
    """The run's rows as ingest would have left them, made inside the database."""
    enlist(address, [run_id])
    database = Database(address)
    try:
        with database.write() as connection:
            start = AttemptReport(attempt=0, start_step=0, reason="start", began_at=1.0)
            attempts.save(connection, run_id, [start])
        for first in range(0, steps, _STEPS_AT_ONCE):
            with database.write() as connection:
                _observations(connection, run_id, first, min(steps, first + _STEPS_AT_ONCE))
        below = None
        for width in WIDTHS:
            with database.write() as connection:
                _rollups(connection, run_id, steps, width, below)
            below = width
        if not database.is_sqlite:
            with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("ANALYZE observations"))
                connection.execute(text("ANALYZE rollups"))
    finally:
        database.close()


def _observations(connection: Connection, run_id: UUID, first: int, before: int) -> None:
    if connection.dialect.name == "sqlite":
        series = "WITH RECURSIVE s(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM s WHERE n + 1 < :before)"
        source, key = "s", run_id.hex
    else:
        # Beyond 271,000 steps the product below no longer fits into four bytes.
        series, source, key = "", "generate_series(CAST(:first AS bigint), :before - 1) AS s(n)", str(run_id)
    # A loss that falls, with something like noise on it: the remainder of a large product.
    value = "2.0 + 1000.0 / (n + 1000) + (n * 7919 % 1000) * 0.0002"
    names = ", ".join(SIGNALS)
    values = ", ".join([value, *(f"0.5 + (n * {7 + index} % 100) * 0.01" for index in range(1, len(SIGNALS)))])
    is_true = "1" if connection.dialect.name == "sqlite" else "true"
    connection.execute(
        text(
            f"{series} INSERT INTO observations (run_id, attempt, step, observed_at, judged, nan_mask, {names}) "
            f"SELECT {_typed(connection)}, 0, n, 1.7e9 + n, {is_true}, 0, {values} FROM {source}"
        ),
        {"first": first, "before": before, "run_id": key},
    )


def _rollups(connection: Connection, run_id: UUID, steps: int, width: int, below: int | None) -> None:
    whole = steps // width
    if not whole:
        return
    columns, values = [], []
    for name in SIGNAL_BITS:
        if name not in SIGNALS:
            continue
        columns += [f"{name}_{part}" for part in ("minimum", "maximum", "mean", "count", "nans")]
        if below is None:
            values += [f"min({name})", f"max({name})", f"avg({name})", f"count({name})", "0"]
        else:
            of = [f"min({name}_minimum)", f"max({name}_maximum)", f"avg({name}_mean)", f"sum({name}_count)", "0"]
            values += of
    step, last, rows = (
        ("step", "step", "count(*)") if below is None else ("first_step", "last_step", "sum(observations)")
    )
    table = "observations" if below is None else f"rollups WHERE width = {below} AND"
    where = "WHERE" if below is None else ""
    connection.execute(
        text(
            f"INSERT INTO rollups (run_id, attempt, width, bucket, first_step, last_step, observations, "
            f"{', '.join(columns)}) SELECT run_id, 0, {width}, {step} / {width}, min({step}), max({last}), {rows}, "
            f"{', '.join(values)} FROM {table} {where} run_id = {_typed(connection)} AND {step} < {whole * width} "
            f"GROUP BY run_id, {step} / {width}"
        ),
        {"run_id": run_id.hex if connection.dialect.name == "sqlite" else str(run_id)},
    )


def _typed(connection: Connection) -> str:
    return ":run_id" if connection.dialect.name == "sqlite" else "CAST(:run_id AS uuid)"
