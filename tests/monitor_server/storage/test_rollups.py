"""Roll-ups: a chart tells the same with them as without, whatever came late, was cut off or was there before."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Iterator, Sequence

import pytest
from sqlalchemy import Connection, Engine, Select, delete, event, func, select

from monitor_server.storage import buckets, rollups
from monitor_server.storage.buckets import Bucket
from monitor_server.storage.rollups import WIDTHS
from monitor_server.storage.tables import observations as observations_table
from monitor_server.storage.tables import rollups as rollups_table
from tests.monitor_server.service import Service, Trainer, block_of

STEPS = 5_500
SIGNALS = ("loss", "update_ratio", "my/one")


def curve(count: int, seed: int = 1) -> list[float]:
    chance = random.Random(seed)
    losses = [2.0 + chance.gauss(0.0, 0.1) for _ in range(count)]
    for index in range(0, count, 701):
        losses[index] = chance.choice([math.nan, math.inf, 50.0, -3.0])
    return losses


def send(service: Service, trainer: Trainer, losses: list[float], piece: int = 250) -> None:
    for start in range(0, len(losses), piece):
        part = losses[start : start + piece]
        ratios: list[float | None] = [value if index % 3 else None for index, value in enumerate(part)]
        block = block_of(trainer.attempt, trainer.step, part, update_ratio=ratios, **{"my/one": part})
        trainer.step += len(part)
        service.send(trainer.envelope(blocks=[block]))


def drawn(
    connection: Connection, trainer: Trainer, points: int, *, signals: Sequence[str] = SIGNALS, **wanted: int
) -> list[Bucket]:
    told = buckets.read(connection, trainer.run_id, signals=signals, points=points, **wanted)
    return [bucket for columns in told for bucket in columns.buckets()]


def chart(
    service: Service, trainer: Trainer, points: int = 20, *, signals: Sequence[str] = SIGNALS, **wanted: int
) -> list[Bucket]:
    with service.database.read() as connection:
        return drawn(connection, trainer, points, signals=signals, **wanted)


def without_rollups(service: Service, trainer: Trainer, points: int = 20, **wanted: int) -> list[Bucket]:
    """The same chart with every observation read."""
    with service.database.write() as connection:
        kept = connection.execute(select(rollups_table)).mappings().all()
        connection.execute(delete(rollups_table))
        told = drawn(connection, trainer, points, **wanted)
        if kept:
            connection.execute(rollups_table.insert(), [dict(row) for row in kept])
    return told


def same(one: list[Bucket], other: list[Bucket]) -> None:
    assert len(one) == len(other)
    for mine, theirs in zip(one, other):
        assert (mine.attempt, mine.first_step, mine.last_step) == (theirs.attempt, theirs.first_step, theirs.last_step)
        assert mine.count == theirs.count
        assert mine.minimum == theirs.minimum
        assert mine.maximum == theirs.maximum
        assert mine.mean == pytest.approx(theirs.mean, nan_ok=True)
        assert mine.nan_count == theirs.nan_count


def rows_of(service: Service, width: int) -> int:
    with service.database.read() as connection:
        counted = select(func.count()).select_from(rollups_table).where(rollups_table.c.width == width)
        return int(connection.execute(counted).scalar_one())


def test_a_chart_tells_the_same_with_roll_ups_as_without(serve: Callable[..., Service]) -> None:
    service = serve()
    service.register(trainer := Trainer())
    losses = curve(STEPS)
    send(service, trainer, losses[:3_111])
    # Another process goes on, and takes the open buckets from the database.
    service = serve()
    send(service, trainer, losses[3_111:])
    assert rows_of(service, WIDTHS[0]) == STEPS // WIDTHS[0]
    assert rows_of(service, WIDTHS[2]) == STEPS // WIDTHS[2]
    for wanted in ({}, {"from_step": 1234, "to_step": 5_401}, {"points": 137}, {"points": 2}, {"points": STEPS}):
        same(chart(service, trainer, **wanted), without_rollups(service, trainer, **wanted))
    assert sum(bucket.nan_count.get("loss", 0) for bucket in chart(service, trainer)) == sum(map(math.isnan, losses))


def test_what_comes_late_is_summed_up_as_well(service: Service) -> None:
    service.register(trainer := Trainer())
    first, rest = curve(600), curve(STEPS, seed=2)
    service.send(trainer.envelope(blocks=[block_of(0, 500, first[:10])]))
    trainer.step = 1_000
    send(service, trainer, rest)
    # A spool of the same attempt, with steps before and between, and of one that is long abandoned.
    service.send(trainer.envelope(blocks=[block_of(0, 600, [40.0, math.nan, 41.0])]))
    trainer.attempt, trainer.step = 1, 900
    send(service, trainer, curve(5_000, seed=3))
    service.send(trainer.envelope(attempt=0, blocks=[block_of(0, 700, first[100:200])]))
    trainer.attempt = 1
    send(service, trainer, curve(500, seed=4))
    same(chart(service, trainer), without_rollups(service, trainer))
    same(chart(service, trainer, attempt=0, points=9), without_rollups(service, trainer, attempt=0, points=9))


def test_rows_of_before_there_were_roll_ups_are_read_as_they_are(serve: Callable[..., Service]) -> None:
    service = serve()
    service.register(trainer := Trainer())
    send(service, trainer, curve(5_010))
    with service.database.write() as connection:
        connection.execute(delete(rollups_table))
    service = serve()
    send(service, trainer, curve(5_000, seed=5))
    # No bucket was written that lacks its beginning.
    with service.database.read() as connection:
        narrowest = select(func.min(rollups_table.c.first_step)).where(rollups_table.c.width == WIDTHS[1])
        assert connection.execute(narrowest).scalar_one() % WIDTHS[1] == 0
    same(chart(service, trainer), without_rollups(service, trainer))


def test_other_signals_are_kept_beside_and_survive_being_summed_up_again(service: Service) -> None:
    service.register(trainer := Trainer())
    send(service, trainer, [float(step) for step in range(100)])
    with service.database.write() as connection:
        every = select(rollups_table.c.bucket, rollups_table.c.extra).order_by(rollups_table.c.bucket)
        kept = connection.execute(every).all()
        assert kept[1][1] == {"my/one": [32.0, 63.0, 47.5, 32, 0]}
        rollups.rebuild(connection, trainer.run_id, 0, [5, 40])
        assert connection.execute(every).all() == kept


def test_a_wide_chart_needs_no_observation(service: Service) -> None:
    service.register(trainer := Trainer())
    send(service, trainer, curve(STEPS))
    whole = STEPS // WIDTHS[0] * WIDTHS[0]
    before = chart(service, trainer, to_step=whole - 1)
    with service.database.write() as connection:
        connection.execute(delete(observations_table))
    same(chart(service, trainer, to_step=whole - 1), before)
    # A narrow one is as fine as what is left.
    narrow = chart(service, trainer, points=500, from_step=64, to_step=319)
    assert [(one.first_step, one.count) for one in narrow] == [(start, WIDTHS[0]) for start in range(64, 320, 32)]


@contextlib.contextmanager
def counting_rows(engine: Engine) -> Iterator[list[int]]:
    """How many rows each summing question of a chart reads, before they are grouped."""
    read: list[int] = []

    def count(connection: Connection, statement: object, *_: object) -> None:
        if isinstance(statement, Select) and statement._group_by_clauses:
            every = statement.with_only_columns(func.count()).group_by(None).order_by(None)
            read.append(connection.execute(every).scalar_one())

    event.listen(engine, "before_execute", count)
    try:
        yield read
    finally:
        event.remove(engine, "before_execute", count)


def test_a_chart_of_any_range_reads_few_rows_and_loses_no_spike(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The law of a chart of ten million steps, on a run and with limits a thousandth as long.
    monkeypatch.setattr(buckets, "MOST_NUMBERS", 800)
    monkeypatch.setattr(buckets, "READ_AS_THEY_ARE", 64)
    service.register(trainer := Trainer())
    chance = random.Random(3)
    losses = [chance.gauss(0.0, 1.0) ** 3 for _ in range(STEPS)]
    send(service, trainer, losses, piece=500)
    columns = SIGNALS[:2]
    most = 800 // (2 + len(columns))
    edges = 2 * (WIDTHS[0] + 4 * len(WIDTHS))
    for points in (3, 10, 40, 200):
        for steps in (1, 31, 100, 257, most, most + 1, 900, 1_700, 3_111, STEPS):
            first = (STEPS - steps) // 2
            with counting_rows(service.database.engine) as read:
                told = chart(service, trainer, points, signals=columns, from_step=first, to_step=first + steps - 1)
            assert 0 < sum(read) <= max(most, 4 * points) + edges, (points, steps)
            assert len(told) <= points + 2
            assert len(told) >= min(points, steps) // 2 or steps > most, (points, steps)
            assert sum(bucket.count for bucket in told) == steps
            for bucket in told:
                mine = losses[bucket.first_step : bucket.last_step + 1]
                assert (bucket.minimum["loss"], bucket.maximum["loss"]) == (min(mine), max(mine))


def test_a_chart_of_many_attempts_has_wider_buckets_rather_than_reading_more(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.register(trainer := Trainer())
    for attempt in range(6):
        trainer.attempt, trainer.step = attempt, 0
        send(service, trainer, [float(attempt)] * 1_200, piece=600)
    assert len(chart(service, trainer, 1_200)) == 6 * 1_200
    monkeypatch.setattr(buckets, "MOST_NUMBERS", 400)
    monkeypatch.setattr(buckets, "READ_AS_THEY_ARE", 64)
    with counting_rows(service.database.engine) as read:
        told = chart(service, trainer, 1_200)
    assert 0 < sum(read) <= 400 // 4 + 6 * (WIDTHS[0] + 4 * len(WIDTHS))
    assert sum(bucket.count for bucket in told) == 6 * 1_200
    assert {bucket.attempt: bucket.maximum["loss"] for bucket in told} == {number: number for number in range(6)}


def test_the_ends_of_many_runs_are_what_each_tells_by_itself(serve: Callable[..., Service]) -> None:
    service = serve()
    trainers = [Trainer(run=str(steps)) for steps in (0, 1, 59, 300, 1500)]
    for trainer in trainers:
        service.register(trainer)
        send(service, trainer, curve(int(str(trainer.description().run)), seed=2))
    with service.database.read() as connection:
        ends = buckets.read_ends(
            connection, [trainer.run_id for trainer in trainers], signal="loss", steps=1000, points=60
        )
        for trainer in trainers:
            from_step = max(0, trainer.step - 1000)
            alone = buckets.read(connection, trainer.run_id, signals=["loss"], points=60, from_step=from_step)
            same(ends.pop(trainer.run_id, []), [bucket for columns in alone for bucket in columns.buckets()])
    assert ends == {}
