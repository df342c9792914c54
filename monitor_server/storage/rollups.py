"""Roll-ups: neighbouring steps of an attempt summed up in buckets of rising width, so that a chart reads few rows.

A bucket is written once, when a step beyond it has come (`monitor_server.live.rolling` gathers it until then), in the
transaction of its observations; and once before that where retention closed it for a run that then came back. So
whatever lies before the last bucket of a width is in the buckets of that width, and the rest is in those of the next
smaller one, down to the observations themselves. Observations that are older than this have none, and are read as they
are until housekeeping has filled the gap (`gap_of`, `fill`).

Of every width, the buckets that are there lie side by side: what is missing lies before the first of them or after
the last, never between. Charts rest on that, so a gap is filled from its end towards its beginning.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, and_, delete, exists, func, select

from monitor_server.storage.column_types import dump_document
from monitor_server.storage.tables import ROLLED_UP, SIGNAL_BITS, observations, rollups
from monitor_server.storage.upsert import insert_or_replace

WIDTHS = (32, 128, 512, 2048, 8192, 32_768, 131_072, 524_288)
"""Steps in a bucket. A chart reads the widest that fits into a point: up to four buckets a point."""

ROWS_AT_ONCE = 2_048
"""Observations, or buckets of the width below, that `fill` sums up at once: some 50 ms of work."""

PackedRollup = tuple[Any, ...]
"""A row in the order of `_PACKED`, as the drivers take it."""
_PARTS = tuple(ROLLED_UP)
_PACKED = (
    "run_id", "attempt", "width", "bucket", "first_step", "last_step", "observations",
    *(f"{name}_{part}" for name in SIGNAL_BITS for part in _PARTS), "extra",
)  # fmt: skip
_INSERT_PACKED = f"INSERT INTO rollups ({', '.join(_PACKED)}) VALUES ({', '.join('?' * len(_PACKED))})"
_COPY_PACKED = f"COPY rollups ({', '.join(_PACKED)}) FROM STDIN"
_NOTHING = (None, None, None, None, None)
_OBSERVED = (
    observations.c.step, observations.c.nan_mask, observations.c.extra, *(observations.c[name] for name in SIGNAL_BITS),
)  # fmt: skip


@dataclass(slots=True)
class Summary:
    """One signal over some steps."""

    minimum: float
    maximum: float
    total: float
    count: int
    """Of the numbers that were measured, infinities among them."""
    nans: int

    @classmethod
    def of(cls, column: Sequence[float | None]) -> Summary:
        """Of a column as the wire has it: None where nothing was measured."""
        try:
            total: float = sum(column)  # type: ignore[arg-type]
        except TypeError:
            total = math.nan
        if total != total:
            return cls._of_gaps(column)
        return cls(min(column), max(column), total, len(column), 0)  # type: ignore[type-var, arg-type]

    @classmethod
    def _of_gaps(cls, column: Sequence[float | None]) -> Summary:
        told = [value for value in column if value is not None]
        values = [value for value in told if value == value]
        lowest, highest = (min(values), max(values)) if values else (math.inf, -math.inf)
        return cls(lowest, highest, sum(values), len(values), len(told) - len(values))

    def add(self, later: Summary) -> None:
        """Take in the same signal over further steps."""
        if later.minimum < self.minimum:
            self.minimum = later.minimum
        if later.maximum > self.maximum:
            self.maximum = later.maximum
        self.total += later.total
        self.count += later.count
        self.nans += later.nans

    def parts(self) -> tuple[float | None, float | None, float | None, int, int]:
        """In the order of `ROLLED_UP`."""
        if not self.count:
            return None, None, None, 0, self.nans
        mean = self.total / self.count
        # SQLite stores NaN as NULL, PostgreSQL as NaN: both read back as the mean of infinities of both signs.
        return self.minimum, self.maximum, None if mean != mean else mean, self.count, self.nans

    @classmethod
    def read(cls, parts: Sequence[Any]) -> Summary:
        """From what `parts` gave."""
        minimum, maximum, mean, count, nans = parts
        if not count:
            return cls(math.inf, -math.inf, 0.0, 0, nans)
        return cls(float(minimum), float(maximum), math.nan if mean is None else float(mean) * count, count, nans)


@dataclass(slots=True)
class Stretch:
    """Some steps of an attempt: a bucket, or part of one."""

    first_step: int
    last_step: int
    observations: int
    signals: dict[str, Summary] = field(default_factory=dict)

    def add(self, later: Stretch) -> None:
        """Take in the steps that follow."""
        self.last_step = later.last_step
        self.observations += later.observations
        mine = self.signals
        for name, summary in later.signals.items():
            known = mine.get(name)
            if known is None:
                mine[name] = Summary(summary.minimum, summary.maximum, summary.total, summary.count, summary.nans)
            else:
                known.add(summary)


def pack(run_id: UUID, attempt: int, width: int, stretch: Stretch) -> PackedRollup:
    """A bucket as the drivers take it."""
    signals = stretch.signals
    columns: list[Any] = []
    for name in SIGNAL_BITS:
        summary = signals.get(name)
        columns += _NOTHING if summary is None else summary.parts()
    others = {name: summary.parts() for name, summary in signals.items() if name not in SIGNAL_BITS}
    bucket = stretch.first_step // width
    keys = run_id.hex, attempt, width, bucket, stretch.first_step, stretch.last_step, stretch.observations
    return (*keys, *columns, dump_document(others) if others else None)


def add_new(connection: Connection, rows: Sequence[PackedRollup]) -> None:
    """Insert buckets that are known to be new."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_INSERT_PACKED, list(rows))
        return
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(_COPY_PACKED) as copy:
        for row in rows:
            copy.write_row(row)


def replace(connection: Connection, rows: Sequence[PackedRollup]) -> None:
    """Insert buckets; where one is there already, the new one takes its place."""
    if not rows:
        return
    keys = rollups.c.run_id, rollups.c.attempt, rollups.c.width, rollups.c.bucket
    for row in rows:
        mine = dict(zip(_PACKED, row))
        connection.execute(delete(rollups).where(keys[0] == UUID(row[0]), *(key == mine[key.name] for key in keys[1:])))
    add_new(connection, rows)


@dataclass(frozen=True, slots=True)
class Open:
    """The bucket of one width that is still open."""

    stretch: Stretch
    """What was gathered for it."""
    bucket: int
    is_broken: bool = False
    """Some of its steps are older than roll-ups, so it must never be written."""
    written: frozenset[int] = frozenset()
    """Buckets from this one on that were written all the same: retention closes those of a run that seems over."""


def open_buckets(connection: Connection, run_id: UUID, attempt: int, last_step: int) -> list[Open]:
    """The open bucket of each width after ``last_step``.

    The first is of the observations themselves, and of what retention wrote of those that it took; the others are of
    the buckets of the width below that have closed.
    """

    def rows(width: int, *where: Any) -> Select[Any]:
        mine = rollups.c.run_id == run_id, rollups.c.attempt == attempt, rollups.c.width == width
        return select(rollups).where(*mine, *where).order_by(rollups.c.bucket.desc())

    def opened(stretch: Stretch, width: int, bucket: int) -> Open:
        beyond = rows(width, rollups.c.bucket >= bucket).with_only_columns(rollups.c.bucket)
        return Open(stretch, bucket, written=frozenset(connection.execute(beyond).scalars()))

    bucket = last_step // WIDTHS[0]
    kept = connection.execute(rows(WIDTHS[0], rollups.c.bucket == bucket)).one_or_none()
    first = _stretch(kept) if kept is not None else Stretch(bucket * WIDTHS[0], bucket * WIDTHS[0] - 1, 0)
    rest = _of_observations(connection, run_id, attempt, first.last_step + 1, last_step)
    if kept is None:
        first = rest
    elif rest.observations:
        first.add(rest)
    found = [opened(first, WIDTHS[0], bucket)]
    # Where that begins which the next width will be given.
    coming = first.first_step
    for below, width in pairwise(WIDTHS):
        newest = rows(below, rollups.c.bucket < found[-1].bucket).limit(width // below)
        closed = [_stretch(row) for row in connection.execute(newest)]
        mine = [one for one in reversed(closed) if one.first_step // width == closed[0].first_step // width]
        begins = mine[0].first_step if mine else coming
        bucket = begins // width
        start = bucket * width
        if begins > start and _has_observations(connection, run_id, attempt, start, begins):
            found.append(Open(_together(mine, begins), bucket, is_broken=True))
            coming = start + width
            continue
        found.append(opened(_together(mine, begins), width, bucket))
        coming = begins
    return found


def _together(parts: Sequence[Stretch], first_step: int) -> Stretch:
    together = Stretch(parts[0].first_step if parts else first_step, first_step - 1, 0)
    for part in parts:
        together.add(part)
    return together


@dataclass(frozen=True, slots=True)
class Gap:
    """Buckets of one width that an attempt lacks and that could be there: all that are closed before ``before``."""

    level: int
    before: int
    """The bucket before which they lie."""
    is_whole: bool
    """Of this width there is none at all."""


def gap_of(connection: Connection, run_id: UUID, attempt: int) -> Gap | None:
    """The narrowest buckets that ingest would have written, had there been roll-ups when the observations came.

    A bucket is closed where the width below has one beyond it (the narrowest: where there is an observation beyond).
    """

    def edge(column: Any, order: Any, *where: Any) -> int | None:
        table = column.table
        mine = select(column).where(table.c.run_id == run_id, table.c.attempt == attempt, *where)
        found: int | None = connection.execute(mine.order_by(order).limit(1)).scalar_one_or_none()
        return found

    step, bucket = observations.c.step, rollups.c.bucket
    first, last, below = edge(step, step), edge(step, step.desc()), 1
    for level, width in enumerate(WIDTHS):
        mine = rollups.c.width == width
        there = edge(bucket, bucket, mine)
        if first is not None and last is not None:
            before = there if there is not None else last * below // width
            if first * below // width < before:
                return Gap(level, before, is_whole=there is None)
        if there is None:
            return None
        first, last, below = there, edge(bucket, bucket.desc(), mine), width
    return None


def fill(connection: Connection, run_id: UUID, attempt: int, gap: Gap) -> int:
    """Write the last buckets of a gap, as many as `ROWS_AT_ONCE` rows make; how many. The run must be locked."""
    width = WIDTHS[gap.level]
    if gap.level:
        below = WIDTHS[gap.level - 1]
        key, before = rollups.c.bucket, gap.before * width // below
        statement = select(rollups).where(
            rollups.c.run_id == run_id, rollups.c.attempt == attempt, rollups.c.width == below, key < before
        )
    else:
        key, before = observations.c.step, gap.before * width
        statement = select(*_OBSERVED).where(
            observations.c.run_id == run_id, observations.c.attempt == attempt, key < before
        )
    rows = connection.execute(statement.order_by(key.desc()).limit(ROWS_AT_ONCE)).all()[::-1]
    first_step = attrgetter("first_step" if gap.level else "step")
    buckets = [list(group) for _, group in groupby(rows, key=lambda row: first_step(row) // width)]
    if len(rows) == ROWS_AT_ONCE:
        # The first of them may have begun before these rows.
        del buckets[0]
    stretches = [_together([_stretch(row) for row in one], 0) if gap.level else _summed(one) for one in buckets]
    add_new(connection, [pack(run_id, attempt, width, stretch) for stretch in stretches])
    return len(stretches)


def rebuild(connection: Connection, run_id: UUID, attempt: int, steps: Iterable[int]) -> None:
    """Sum up again the buckets that were written already and to which ``steps`` have been added since."""
    touched = set(steps)
    for level, width in enumerate(WIDTHS):
        mine = and_(rollups.c.run_id == run_id, rollups.c.attempt == attempt, rollups.c.width == width)
        edges = select(func.min(rollups.c.bucket), func.max(rollups.c.bucket)).where(mine)
        first, last = connection.execute(edges).one()
        if first is None:
            return
        rows = []
        for bucket in sorted({step // width for step in touched}):
            if not first <= bucket <= last:
                continue
            start = bucket * width
            stretch = (
                _of_rollups(connection, run_id, attempt, WIDTHS[level - 1], start, start + width)
                if level
                else _of_observations(connection, run_id, attempt, start, start + width - 1)
            )
            rows.append(_values(run_id, attempt, width, stretch))
        insert_or_replace(connection, rollups, rows)


def _of_observations(connection: Connection, run_id: UUID, attempt: int, from_step: int, to_step: int) -> Stretch:
    statement = (
        select(*_OBSERVED)
        .where(
            observations.c.run_id == run_id,
            observations.c.attempt == attempt,
            observations.c.step >= from_step,
            observations.c.step <= to_step,
        )
        .order_by(observations.c.step)
    )
    rows = connection.execute(statement).all()
    return _summed(rows) if rows else Stretch(from_step, from_step - 1, 0)


def _summed(rows: Sequence[Any]) -> Stretch:
    """Of rows of `_OBSERVED`, in order."""
    signals: dict[str, Summary] = {}
    for index, (name, bit) in enumerate(SIGNAL_BITS.items()):
        column = [math.nan if row[1] >> bit & 1 else row[3 + index] for row in rows]
        if any(value is not None for value in column):
            signals[name] = Summary.of(column)
    others = {name for row in rows for name in row[2] or ()}
    for name in sorted(others):
        told = [(row[2] or {}).get(name) for row in rows]
        signals[name] = Summary.of([None if value is None else float(value) for value in told])
    return Stretch(rows[0][0], rows[-1][0], len(rows), signals)


def _of_rollups(
    connection: Connection, run_id: UUID, attempt: int, width: int, from_step: int, before_step: int
) -> Stretch:
    statement = (
        select(rollups)
        .where(
            rollups.c.run_id == run_id,
            rollups.c.attempt == attempt,
            rollups.c.width == width,
            rollups.c.bucket >= from_step // width,
            rollups.c.bucket < before_step // width,
        )
        .order_by(rollups.c.bucket)
    )
    return _together([_stretch(row) for row in connection.execute(statement)], from_step)


def _has_observations(connection: Connection, run_id: UUID, attempt: int, from_step: int, before_step: int) -> bool:
    any_there = exists().where(
        observations.c.run_id == run_id,
        observations.c.attempt == attempt,
        observations.c.step >= from_step,
        observations.c.step < before_step,
    )
    return bool(connection.execute(select(any_there)).scalar_one())


def _stretch(row: Any) -> Stretch:
    told: Mapping[str, Any] = row._mapping
    signals = {}
    for name in SIGNAL_BITS:
        if told[f"{name}_count"] is not None:
            signals[name] = Summary.read([told[f"{name}_{part}"] for part in _PARTS])
    for name, parts in (told["extra"] or {}).items():
        signals[name] = Summary.read(parts)
    return Stretch(told["first_step"], told["last_step"], told["observations"], signals)


def _values(run_id: UUID, attempt: int, width: int, stretch: Stretch) -> dict[str, Any]:
    packed = dict(zip(_PACKED, pack(run_id, attempt, width, stretch)))
    others = {name: summary.parts() for name, summary in stretch.signals.items() if name not in SIGNAL_BITS}
    return {**packed, "run_id": run_id, "extra": others or None}
