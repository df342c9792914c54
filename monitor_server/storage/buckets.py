"""Charts: the steps of a run in about as many buckets as there are points, whatever the run's length."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, func, select

from monitor_server.storage.rollups import WIDTHS
from monitor_server.storage.tables import SIGNAL_BITS, attempts, observations, rollups

READ_AS_THEY_ARE = 4096
"""Steps of an attempt that are not worth the search for roll-ups."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Neighbouring steps of one attempt, summed up so that no spike and no NaN is lost."""

    attempt: int
    first_step: int
    last_step: int
    count: int
    minimum: dict[str, float]
    maximum: dict[str, float]
    mean: dict[str, float]
    nan_count: dict[str, int]


@dataclass(slots=True)
class _Piece:
    """A part of a bucket, from the observations or from one width of roll-ups."""

    place: int
    first_step: int
    last_step: int
    count: int
    signals: list[tuple[float | None, float | None, float, int, int]]
    """Of each signal: minimum, maximum, total, count, NaNs."""


def read(
    connection: Connection,
    run_id: UUID,
    *,
    signals: Sequence[str],
    points: int,
    attempt: int | None = None,
    from_step: int | None = None,
    to_step: int | None = None,
) -> list[Bucket]:
    """At most about ``points`` buckets per attempt over the steps asked for, in order of (attempt, step).

    ``signals`` are names of `SIGNAL_BITS`. A signal that no step of a bucket measured is absent from its dictionaries.
    """
    extents = _extents(connection, run_id, attempt, from_step, to_step)
    if not extents:
        return []
    low = min(one.first_step for one in extents)
    high = max(one.last_step for one in extents)
    width = max(1, math.ceil((high - low + 1) / points))
    level = max((index for index, one in enumerate(WIDTHS) if one <= width // 2), default=-1)
    if any(one.is_thinned for one in extents):
        level = max(level, 0)
    if level >= 0:
        # A bucket of a chart is a whole number of roll-ups, and stays where it is when the run goes on.
        width = math.ceil(width / WIDTHS[level]) * WIDTHS[level]
        low = 0
    told: list[Bucket] = []
    for one in extents:
        chart = _Chart(connection, run_id, one.attempt, signals, low, width)
        is_long = one.is_thinned or one.last_step - one.first_step >= READ_AS_THEY_ARE
        told += chart.buckets(chart.pieces(level if is_long else -1, one.first_step, one.last_step))
    return told


@dataclass(frozen=True, slots=True)
class _Extent:
    """The steps of an attempt, of those asked for."""

    attempt: int
    first_step: int
    last_step: int
    is_thinned: bool
    """Retention has taken observations of it; only their roll-ups are left."""


def _extents(
    connection: Connection, run_id: UUID, attempt: int | None, from_step: int | None, to_step: int | None
) -> list[_Extent]:
    def edge(column: Any, order: Any, *where: Any) -> Any:
        table = column.table
        mine = table.c.run_id == attempts.c.run_id, table.c.attempt == attempts.c.attempt, *where
        return select(column).where(*mine).order_by(order).limit(1).correlate(attempts).scalar_subquery()

    # Each is one look at an end of the key: the whole of a long run is never counted.
    step, narrowest = observations.c.step, rollups.c.width == WIDTHS[0]
    statement = select(
        attempts.c.attempt,
        edge(step, step),
        edge(step, step.desc()),
        edge(rollups.c.first_step, rollups.c.bucket, narrowest),
        edge(rollups.c.last_step, rollups.c.bucket.desc(), narrowest),
    ).where(attempts.c.run_id == run_id)
    if attempt is not None:
        statement = statement.where(attempts.c.attempt == attempt)
    found = []
    for number, first, last, rolled_first, rolled_last in connection.execute(statement.order_by(attempts.c.attempt)):
        firsts, lasts = (
            [one for one in pair if one is not None] for pair in ((first, rolled_first), (last, rolled_last))
        )
        if not firsts:
            continue
        low = max(min(firsts), from_step or 0)
        high = max(lasts) if to_step is None else min(max(lasts), to_step)
        is_thinned = rolled_first is not None and (first is None or first > rolled_first)
        if low <= high:
            found.append(_Extent(number, low, high, is_thinned))
    return found


class _Chart:
    """One attempt's part of a chart."""

    def __init__(
        self, connection: Connection, run_id: UUID, attempt: int, signals: Sequence[str], low: int, width: int
    ) -> None:
        self._connection = connection
        self._run_id = run_id
        self._attempt = attempt
        self._signals = signals
        self._low = low
        self._width = width

    def pieces(self, level: int, from_step: int, to_step: int) -> Iterator[_Piece]:
        """The steps between, from the widest roll-ups allowed; what they do not cover, from narrower ones."""
        if from_step > to_step:
            return
        if level < 0:
            yield from self._of_observations(from_step, to_step)
            return
        found = self._of_rollups(WIDTHS[level], from_step, to_step)
        if not found:
            yield from self.pieces(level - 1, from_step, to_step)
            return
        yield from self.pieces(level - 1, from_step, found[0].first_step - 1)
        yield from found
        yield from self.pieces(level - 1, found[-1].last_step + 1, to_step)

    def buckets(self, pieces: Iterator[_Piece]) -> Iterator[Bucket]:
        """Neighbouring pieces of the same place as one."""
        together: _Piece | None = None
        for piece in pieces:
            if together is not None and together.place == piece.place:
                _join(together, piece)
                continue
            if together is not None:
                yield self._bucket(together)
            together = piece
        if together is not None:
            yield self._bucket(together)

    def _of_observations(self, from_step: int, to_step: int) -> list[_Piece]:
        place = ((observations.c.step - self._low) // self._width).label("place")
        summaries: list[Any] = []
        for name in self._signals:
            column = observations.c[name]
            is_nan = (observations.c.nan_mask // (1 << SIGNAL_BITS[name])) % 2
            summaries += [func.min(column), func.max(column), func.avg(column), func.count(column), func.sum(is_nan)]
        statement = (
            select(place, func.min(observations.c.step), func.max(observations.c.step), func.count(), *summaries)
            .where(
                observations.c.run_id == self._run_id,
                observations.c.attempt == self._attempt,
                observations.c.step >= from_step,
                observations.c.step <= to_step,
            )
            .group_by(place)
            .order_by(place)
        )
        return [self._piece(row) for row in self._connection.execute(statement)]

    def _of_rollups(self, width: int, from_step: int, to_step: int) -> list[_Piece]:
        place = (rollups.c.bucket // (self._width // width)).label("place")
        summaries: list[Any] = []
        for name in self._signals:
            minimum, maximum, mean, count, nans = (
                rollups.c[f"{name}_{part}"] for part in ("minimum", "maximum", "mean", "count", "nans")
            )
            counted = func.sum(count)
            mean_of_all = func.sum(mean * count) / func.nullif(counted, 0)
            summaries += [func.min(minimum), func.max(maximum), mean_of_all, counted, func.sum(nans)]
        statement = (
            select(
                place,
                func.min(rollups.c.first_step),
                func.max(rollups.c.last_step),
                func.sum(rollups.c.observations),
                *summaries,
            )
            .where(
                rollups.c.run_id == self._run_id,
                rollups.c.attempt == self._attempt,
                rollups.c.width == width,
                rollups.c.bucket >= from_step // width,
                rollups.c.bucket <= to_step // width,
                # Not those at the ends that reach beyond.
                rollups.c.first_step >= from_step,
                rollups.c.last_step <= to_step,
            )
            .group_by(place)
            .order_by(place)
        )
        return [self._piece(row) for row in self._connection.execute(statement)]

    def _piece(self, row: Any) -> _Piece:
        signals = []
        for at in range(4, len(row), 5):
            minimum, maximum, mean, count, nans = row[at : at + 5]
            count = int(count or 0)
            # SQLite answers NULL to the mean of +inf and -inf, PostgreSQL NaN.
            total = (math.nan if mean is None else float(mean) * count) if count else 0.0
            signals.append((minimum, maximum, total, count, int(nans or 0)))
        return _Piece(int(row[0]), row[1], row[2], int(row[3]), signals)

    def _bucket(self, piece: _Piece) -> Bucket:
        bucket = Bucket(self._attempt, piece.first_step, piece.last_step, piece.count, {}, {}, {}, {})
        for name, (minimum, maximum, total, count, nans) in zip(self._signals, piece.signals):
            if minimum is not None and maximum is not None:
                bucket.minimum[name] = minimum
                bucket.maximum[name] = maximum
                bucket.mean[name] = total / count
            if nans:
                bucket.nan_count[name] = nans
        return bucket


def _join(piece: _Piece, later: _Piece) -> None:
    piece.last_step = later.last_step
    piece.count += later.count
    for index, (mine, other) in enumerate(zip(piece.signals, later.signals)):
        lowest = [one for one in (mine[0], other[0]) if one is not None]
        highest = [one for one in (mine[1], other[1]) if one is not None]
        piece.signals[index] = (
            min(lowest, default=None),
            max(highest, default=None),
            mine[2] + other[2],
            mine[3] + other[3],
            mine[4] + other[4],
        )
