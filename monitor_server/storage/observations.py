"""Observations: wide typed rows, a bit per NaN, and whatever else was measured beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, tuple_
from sqlalchemy.engine import Row

from monitor_server.storage.column_types import dump_document
from monitor_server.storage.tables import SIGNAL_BITS, observations
from monitor_server.storage.upsert import insert_new
from trainguard.wire import Observation, ObservationBlock

_SIGNALS = [observations.c[name] for name in SIGNAL_BITS]
_COLUMNS = [
    observations.c.attempt,
    observations.c.step,
    observations.c.observed_at,
    observations.c.nan_mask,
    observations.c.extra,
    *_SIGNALS,
]
_NAMES = tuple(SIGNAL_BITS)
_FIRST_SIGNAL = 5

PackedRow = tuple[Any, ...]
"""A row in the order of `_PACKED`, as the drivers take it."""
_PACKED = ("run_id", "attempt", "step", "observed_at", "judged", "nan_mask", "extra", *_NAMES)
_INSERT_PACKED = f"INSERT INTO observations ({', '.join(_PACKED)}) VALUES ({', '.join('?' * len(_PACKED))})"
_COPY_PACKED = f"COPY observations ({', '.join(_PACKED)}) FROM STDIN"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Steps of one attempt: from ``from_step`` to before ``before_step`` (None: to the end)."""

    attempt: int
    from_step: int
    before_step: int | None = None


def add(connection: Connection, run_id: UUID, rows: Iterable[tuple[Observation, bool]]) -> int:
    """Insert observations, each with whether it is to be judged; the number that was new.

    A row that is there already stays as it is.
    """
    return insert_new(connection, observations, [_values(run_id, row, judged) for row, judged in rows])


def pack(run_id: UUID, block: ObservationBlock) -> Iterator[PackedRow]:
    """The judged rows of a block, column by column: a tenth of the time that a dictionary per row would take."""
    count = len(block.steps)
    masks: Iterable[int] = repeat(0, count)
    columns: list[Iterable[float | None]] = []
    for name, bit in SIGNAL_BITS.items():
        column = block.signals.get(name)
        if column is None:
            columns.append(repeat(None, count))
        elif _may_hold_nan(column):
            masks = [mask | (value != value) << bit for mask, value in zip(masks, column)]
            columns.append([value if value == value else None for value in column])
        else:
            columns.append(column)
    others = {name: column for name, column in block.signals.items() if name not in SIGNAL_BITS}
    extras = [_dumped(others, index) for index in range(count)] if others else repeat(None, count)
    keys = repeat(run_id.hex, count), repeat(block.attempt, count), block.steps, block.observed_at, repeat(True, count)
    return zip(*keys, masks, extras, *columns)


def _may_hold_nan(column: Sequence[float | None]) -> bool:
    # One NaN makes the whole sum NaN; so do two infinities, for which a closer look does no harm.
    total = sum(filter(None, column))
    return total != total


def _dumped(columns: dict[str, list[float | None]], index: int) -> str | None:
    measured = {name: column[index] for name, column in columns.items() if column[index] is not None}
    return dump_document(measured) if measured else None


def add_new(connection: Connection, rows: Sequence[PackedRow]) -> None:
    """Insert rows that are known to be new, by the quickest way that the database has.

    Raises `IntegrityError` (or what psycopg says of it) where one is there already.
    """
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_INSERT_PACKED, list(rows))
        return
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(_COPY_PACKED) as copy:
        for row in rows:
            copy.write_row(row)


def read(
    connection: Connection,
    run_id: UUID,
    *,
    attempt: int | None = None,
    from_step: int | None = None,
    to_step: int | None = None,
    after: tuple[int, int] | None = None,
    limit: int = 10_000,
) -> list[Observation]:
    """Observations in the order of (attempt, step); ``to_step`` inclusive, ``after`` exclusive."""
    statement = select(*_COLUMNS).where(observations.c.run_id == run_id)
    if attempt is not None:
        statement = statement.where(observations.c.attempt == attempt)
    if from_step is not None:
        statement = statement.where(observations.c.step >= from_step)
    if to_step is not None:
        statement = statement.where(observations.c.step <= to_step)
    if after is not None:
        statement = statement.where(tuple_(observations.c.attempt, observations.c.step) > after)
    statement = statement.order_by(observations.c.attempt, observations.c.step).limit(limit)
    return [_observation(row) for row in connection.execute(statement)]


def replay(connection: Connection, run_id: UUID, stretch: Stretch, *, newest: int) -> Iterator[Observation]:
    """The judged observations of a stretch, in order; of a longer one, only the ``newest``."""
    statement = select(*_COLUMNS).where(
        observations.c.run_id == run_id,
        observations.c.attempt == stretch.attempt,
        observations.c.step >= stretch.from_step,
        observations.c.judged,
    )
    if stretch.before_step is not None:
        statement = statement.where(observations.c.step < stretch.before_step)
    rows = connection.execute(statement.order_by(observations.c.step.desc()).limit(newest)).all()
    for row in reversed(rows):
        yield _observation(row)


def extra_names(connection: Connection, run_id: UUID) -> list[str]:
    """Names of signals without a column of their own, as far as the latest thousand observations show."""
    latest = (
        select(observations.c.extra)
        .where(observations.c.run_id == run_id, observations.c.extra.is_not(None))
        .order_by(observations.c.attempt.desc(), observations.c.step.desc())
        .limit(1000)
    )
    names: dict[str, None] = {}
    for (extra,) in connection.execute(latest):
        names.update(dict.fromkeys(extra))
    return sorted(names)


def _values(run_id: UUID, row: Observation, judged: bool) -> dict[str, Any]:
    values: dict[str, Any] = dict.fromkeys(_NAMES)
    mask = 0
    extra: dict[str, float] | None = None
    for name, value in row.signals.items():
        bit = SIGNAL_BITS.get(name)
        if bit is None:
            extra = extra or {}
            extra[name] = value
        elif value != value:
            mask |= 1 << bit
        else:
            values[name] = value
    values["run_id"] = run_id
    values["attempt"] = row.attempt
    values["step"] = row.step
    values["observed_at"] = row.observed_at
    values["judged"] = judged
    values["nan_mask"] = mask
    values["extra"] = extra
    return values


def _observation(row: Row[Any]) -> Observation:
    attempt, step, observed_at, mask, extra = row[:_FIRST_SIGNAL]
    signals: dict[str, float] = {}
    for name, value in zip(_NAMES, row[_FIRST_SIGNAL:]):
        if value is not None:
            signals[name] = value
    if mask:
        for name, bit in SIGNAL_BITS.items():
            if mask >> bit & 1:
                signals[name] = math.nan
    if extra:
        # NaN and the infinities are strings inside JSON.
        signals.update({name: float(value) for name, value in extra.items()})
    return Observation(attempt, step, observed_at, signals)
