"""Charts: the steps of a run in about as many buckets as there are points, whatever the run's length."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, and_, case, func, select

from monitor_server.storage.rollups import WIDTHS, Summary
from monitor_server.storage.tables import SIGNAL_BITS, attempts, observations, rollups, runs

READ_AS_THEY_ARE = 1024
"""Steps of an attempt that are not worth the search for roll-ups: each width is a question of its own."""
MOST_NUMBERS = 131_072
"""Rows times columns that a chart reads: some 50 ms. Where its points ask for more, it has fewer and wider buckets."""
_LOOKED_AT = 64
"""Rows of each width that are looked at for the names of signals: ten times those that the next width leaves out."""
_COLUMNS_BESIDE = 2
"""What a row costs besides its signals, in columns."""
_DOCUMENT = 14
"""What the signals without a column of their own cost, in columns: they are read as JSON and summed up here."""


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


@dataclass(frozen=True, slots=True)
class SignalColumns:
    """One signal, a value per bucket; None where no step of the bucket measured a number."""

    minimum: list[float | None]
    maximum: list[float | None]
    mean: list[float | None]
    nan_count: list[int]


@dataclass(frozen=True, slots=True)
class Columns:
    """The buckets of one attempt, in order: thousands of them, so by columns."""

    attempt: int
    first_steps: list[int]
    last_steps: list[int]
    counts: list[int]
    signals: dict[str, SignalColumns]

    def buckets(self) -> Iterator[Bucket]:
        """One by one. A signal that no step of a bucket measured is absent from its dictionaries."""
        for index, count in enumerate(self.counts):
            bucket = Bucket(self.attempt, self.first_steps[index], self.last_steps[index], count, {}, {}, {}, {})
            for name, columns in self.signals.items():
                minimum, maximum, mean = columns.minimum[index], columns.maximum[index], columns.mean[index]
                if minimum is not None and maximum is not None and mean is not None:
                    bucket.minimum[name] = minimum
                    bucket.maximum[name] = maximum
                    bucket.mean[name] = mean
                if columns.nan_count[index]:
                    bucket.nan_count[name] = columns.nan_count[index]
            yield bucket


_Piece = Sequence[Any]
"""A part of a bucket, from the observations or from one width of roll-ups: its place among the buckets, its first and
last step and how many there are, and of each signal: minimum, maximum, mean, count, NaNs."""
_PLACE, _FIRST, _LAST, _COUNT, _SIGNALS = range(5)
_PARTS = 5
_UNMEASURED = (None, None, None, 0, 0)


def read(
    connection: Connection,
    run_id: UUID,
    *,
    signals: Sequence[str],
    points: int,
    attempt: int | None = None,
    from_step: int | None = None,
    to_step: int | None = None,
) -> list[Columns]:
    """At most about ``points`` buckets per attempt over the steps asked for, in order of the attempts.

    ``signals`` are names of `SIGNAL_BITS`, or any others that the run sends.
    """
    columns = [name for name in signals if name in SIGNAL_BITS]
    others = [name for name in signals if name not in SIGNAL_BITS]
    extents = _extents(connection, run_id, attempt, from_step, to_step)
    if not extents:
        return []
    low = min(one.first_step for one in extents)
    high = max(one.last_step for one in extents)
    width = max(1, math.ceil((high - low + 1) / points))
    level = _level(width, len(columns) + (_DOCUMENT if others else 0), extents)
    if level >= 0:
        # A bucket of a chart is a whole number of roll-ups, and stays where it is when the run goes on.
        width = math.ceil(width / WIDTHS[level]) * WIDTHS[level]
        low = 0
    told: list[Columns] = []
    for one in extents:
        chart = _Chart(connection, run_id, one.attempt, columns, others, low, width)
        is_long = one.is_thinned or one.steps > READ_AS_THEY_ARE
        told.append(chart.columns(chart.pieces(level if is_long else -1, one.first_step, one.last_step)))
    return told


def other_names(connection: Connection, run_id: UUID) -> set[str]:
    """The signals without a column of their own that the run sends, as far as they can be known from a few rows.

    A look at the last roll-ups of every width covers all but the beginning of a very long run.
    """
    latest = [
        select(rollups.c.extra)
        .where(rollups.c.run_id == run_id, rollups.c.width == width)
        .order_by(rollups.c.attempt.desc(), rollups.c.bucket.desc())
        for width in WIDTHS
    ]
    latest.append(
        select(observations.c.extra)
        .where(observations.c.run_id == run_id)
        .order_by(observations.c.attempt.desc(), observations.c.step.desc())
    )
    found: set[str] = set()
    for statement in latest:
        for (document,) in connection.execute(statement.limit(_LOOKED_AT)):
            found.update(document or ())
    return found


def read_ends(
    connection: Connection, run_ids: Iterable[UUID], *, signal: str, steps: int, points: int
) -> dict[UUID, list[Bucket]]:
    """Of each of these runs the last ``steps`` steps of the attempt in force, in at most about ``points`` buckets.

    One question for all of them, of the observations alone; runs without any are absent.
    """
    oldest = runs.c.last_step - (steps - 1)
    first = case((attempts.c.start_step > oldest, attempts.c.start_step), (oldest > 0, oldest), else_=0)
    place = ((observations.c.step - first) // ((runs.c.last_step - first) // points + 1)).label("place")
    column = observations.c[signal]
    is_nan = (observations.c.nan_mask // (1 << SIGNAL_BITS[signal])) % 2
    statement = (
        select(
            observations.c.run_id,
            observations.c.attempt,
            func.min(observations.c.step),
            func.max(observations.c.step),
            func.count(),
            func.min(column),
            func.max(column),
            func.avg(column),
            func.sum(is_nan),
        )
        .select_from(runs)
        .join(attempts, and_(attempts.c.run_id == runs.c.run_id, attempts.c.attempt == runs.c.attempt))
        .join(
            observations,
            and_(
                observations.c.run_id == runs.c.run_id,
                observations.c.attempt == runs.c.attempt,
                observations.c.step >= first,
                observations.c.step <= runs.c.last_step,
            ),
        )
        .where(runs.c.run_id.in_(set(run_ids)))
        .group_by(observations.c.run_id, observations.c.attempt, place)
        .order_by(observations.c.run_id, place)
    )
    told: dict[UUID, list[Bucket]] = {}
    for run_id, attempt, first_step, last_step, count, low, high, mean, nans in connection.execute(statement):
        bucket = Bucket(attempt, first_step, last_step, count, {}, {}, {}, {})
        if low is not None:
            # SQLite answers NULL to the mean of +inf and -inf, PostgreSQL NaN.
            bucket.minimum[signal], bucket.maximum[signal] = low, high
            bucket.mean[signal] = math.nan if mean is None else float(mean)
        if nans:
            bucket.nan_count[signal] = int(nans)
        told.setdefault(run_id, []).append(bucket)
    return told


@dataclass(frozen=True, slots=True)
class _Extent:
    """The steps of an attempt, of those asked for."""

    attempt: int
    first_step: int
    last_step: int
    is_thinned: bool
    """Retention has taken observations of it; only their roll-ups are left."""

    @property
    def steps(self) -> int:
        """How many there are, if none was left out."""
        return self.last_step - self.first_step + 1


def _level(width: int, signals: int, extents: Sequence[_Extent]) -> int:
    """Which roll-ups to read for buckets of ``width`` steps; -1: the observations.

    The widest that fit into a bucket: there are four times as many, at most, in the next. So a chart reads at most
    four a point, and it has at least half the points that were asked for as long as `MOST_NUMBERS` allows them.
    """
    steps = sum(one.steps for one in extents)
    most = MOST_NUMBERS // (_COLUMNS_BESIDE + signals)
    level = max((index for index, one in enumerate(WIDTHS) if one <= width), default=-1)
    if level < 0 and (steps > most or any(one.is_thinned for one in extents)):
        level = 0
    while level >= 0 and steps // WIDTHS[level] > most and level < len(WIDTHS) - 1:
        level += 1
    return level


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
        self,
        connection: Connection,
        run_id: UUID,
        attempt: int,
        signals: Sequence[str],
        others: Sequence[str],
        low: int,
        width: int,
    ) -> None:
        self._connection = connection
        self._run_id = run_id
        self._attempt = attempt
        self._signals = signals
        self._others = others
        self._low = low
        self._width = width

    def pieces(self, level: int, from_step: int, to_step: int) -> list[_Piece]:
        """The steps between, from the widest roll-ups allowed; what they do not cover, from narrower ones."""
        if from_step > to_step:
            return []
        if level < 0:
            return self._of_observations(from_step, to_step)
        found = self._of_rollups(WIDTHS[level], from_step, to_step)
        if not found:
            return self.pieces(level - 1, from_step, to_step)
        before = self.pieces(level - 1, from_step, found[0][_FIRST] - 1)
        after = self.pieces(level - 1, found[-1][_LAST] + 1, to_step)
        return _joined(_joined(before, found), after)

    def columns(self, pieces: Sequence[_Piece]) -> Columns:
        """Neighbouring buckets as a list per number: a chart has thousands of them."""
        columns = list(zip(*pieces))
        signals = {}
        for index, name in enumerate((*self._signals, *self._others)):
            minimum, maximum, mean, count, nans = columns[_SIGNALS + _PARTS * index :][:_PARTS]
            # One look at the whole column is quicker than one at each: as a rule there is a number in every bucket.
            told = list(mean) if None not in mean else [_mean(one, counted) for one, counted in zip(mean, count)]
            signals[name] = SignalColumns(list(minimum), list(maximum), told, [one or 0 for one in nans])
        return Columns(self._attempt, list(columns[_FIRST]), list(columns[_LAST]), list(columns[_COUNT]), signals)

    def _of_observations(self, from_step: int, to_step: int) -> list[_Piece]:
        step, mask = observations.c.step, observations.c.nan_mask
        place = ((step - self._low) // self._width).label("place")
        summaries: list[Any] = []
        for name in self._signals:
            column = observations.c[name]
            nans = func.count(func.nullif(mask.bitwise_and(1 << SIGNAL_BITS[name]), 0))
            summaries += [func.min(column), func.max(column), func.avg(column), func.count(column), nans]
        mine = (
            observations.c.run_id == self._run_id,
            observations.c.attempt == self._attempt,
            step >= from_step,
            step <= to_step,
        )
        statement = (
            select(place, func.min(step), func.max(step), func.count(), *summaries)
            .where(*mine)
            .group_by(place)
            .order_by(place)
        )
        found: list[_Piece] = list(self._connection.execute(statement).all())
        if not self._others:
            return found
        rows = self._connection.execute(select(place, observations.c.extra).where(*mine).order_by(step))
        read = ((where, name, Summary.of([float(value)])) for where, name, value in self._of_documents(rows))
        return self._with_others(found, read)

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
        mine = (
            rollups.c.run_id == self._run_id,
            rollups.c.attempt == self._attempt,
            rollups.c.width == width,
            rollups.c.bucket >= from_step // width,
            rollups.c.bucket <= to_step // width,
            # Not those at the ends that reach beyond.
            rollups.c.first_step >= from_step,
            rollups.c.last_step <= to_step,
        )
        statement = (
            select(
                place,
                func.min(rollups.c.first_step),
                func.max(rollups.c.last_step),
                func.sum(rollups.c.observations),
                *summaries,
            )
            .where(*mine)
            .group_by(place)
            .order_by(place)
        )
        found: list[_Piece] = list(self._connection.execute(statement).all())
        if not self._others:
            return found
        rows = self._connection.execute(select(place, rollups.c.extra).where(*mine).order_by(rollups.c.bucket))
        read = ((where, name, Summary.read(parts)) for where, name, parts in self._of_documents(rows))
        return self._with_others(found, read)

    def _of_documents(self, rows: Iterable[Any]) -> Iterator[tuple[int, str, Any]]:
        """Place, name and what is said of it, of the signals that rows keep in a document."""
        for place, document in rows:
            for name in self._others:
                if document and name in document:
                    yield place, name, document[name]

    def _with_others(self, found: list[_Piece], read: Iterable[tuple[int, str, Summary]]) -> list[_Piece]:
        told: dict[tuple[int, str], Summary] = {}
        for place, name, summary in read:
            known = told.get((place, name))
            if known is None:
                told[place, name] = summary
            else:
                known.add(summary)
        parts = {key: summary.parts() for key, summary in told.items()}
        return [
            [*piece, *(part for name in self._others for part in parts.get((piece[_PLACE], name), _UNMEASURED))]
            for piece in found
        ]


def _mean(mean: float | None, count: int | None) -> float | None:
    if not count:
        return None
    # SQLite answers NULL to the mean of +inf and -inf, PostgreSQL NaN.
    return math.nan if mean is None else mean


def _joined(earlier: list[_Piece], later: list[_Piece]) -> list[_Piece]:
    """What follows upon another; the last of one and the first of the other may be parts of the same bucket."""
    if earlier and later and earlier[-1][_PLACE] == later[0][_PLACE]:
        return [*earlier[:-1], _as_one(earlier[-1], later[0]), *later[1:]]
    return earlier + later


def _as_one(earlier: _Piece, later: _Piece) -> _Piece:
    told = [earlier[_PLACE], earlier[_FIRST], later[_LAST], earlier[_COUNT] + later[_COUNT]]
    for at in range(_SIGNALS, len(earlier), _PARTS):
        minimum, maximum, means, counts, nans = zip(earlier[at : at + _PARTS], later[at : at + _PARTS])
        counted = sum(one or 0 for one in counts)
        total = sum((_mean(mean, count) or 0.0) * (count or 0) for mean, count in zip(means, counts))
        told += [
            min((one for one in minimum if one is not None), default=None),
            max((one for one in maximum if one is not None), default=None),
            total / counted if counted else None,
            counted,
            sum(one or 0 for one in nans),
        ]
    return told
