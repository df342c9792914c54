"""The backlog of roll-ups: what an upgrade finds gets the buckets that ingest would have made, and no chart changes."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, delete, func, select

from monitor_server.housekeeping import CHORES, Desk, Housekeeper
from monitor_server.housekeeping.rollup_backlog import work_off
from monitor_server.live import Rolling
from monitor_server.storage import buckets, observations, rollups, schema
from monitor_server.storage.buckets import Bucket
from monitor_server.storage.rollups import ROWS_AT_ONCE, WIDTHS
from monitor_server.storage.tables import observations as observations_table
from monitor_server.storage.tables import rollup_backlog
from monitor_server.storage.tables import rollups as rollups_table
from tests.monitor_server.service import Service, Trainer, block_of

SIGNALS = ("loss", "update_ratio")
OF_BEFORE = "0002"
"""The last schema without roll-ups."""
STEPS = 2 * WIDTHS[3] + 900

Row = dict[str, Any]


def curve(count: int, seed: int) -> list[float]:
    chance = random.Random(seed)
    losses = [2.0 + chance.gauss(0.0, 0.1) for _ in range(count)]
    for index in range(0, count, 301):
        losses[index] = chance.choice([math.nan, math.inf, 50.0, -3.0])
    return losses


def send(service: Service, trainer: Trainer, count: int, *, seed: int = 1, piece: int = 500) -> None:
    losses = curve(count, seed)
    for start in range(0, count, piece):
        part = losses[start : start + piece]
        ratios: list[float | None] = [value if index % 3 else None for index, value in enumerate(part)]
        block = block_of(trainer.attempt, trainer.step, part, update_ratio=ratios, **{"my/one": part})
        trainer.step += len(part)
        service.send(trainer.envelope(blocks=[block]))


def upgraded(service: Service, serve: Callable[..., Service], **settings: object) -> Service:
    """As after an upgrade from a version that knew no roll-ups: another process over what that one had written."""
    service.ingest.stop()
    service.database.engine.dispose()
    schema.downgrade(service.database, OF_BEFORE)
    schema.upgrade(service.database)
    return serve(**settings)


def piece(service: Service) -> int:
    with service.database.write() as connection:
        return work_off(Desk(connection, service.settings, service.clock(), 0.0))


def finish(service: Service) -> int:
    pieces = 0
    while piece(service):
        pieces += 1
    return pieces


def backlog_of(service: Service) -> set[tuple[str, int]]:
    with service.database.read() as connection:
        return {(row.run_id.hex, row.attempt) for row in connection.execute(select(rollup_backlog))}


def written(connection: Connection, trainer: Trainer) -> list[Row]:
    keys = rollups_table.c.attempt, rollups_table.c.width, rollups_table.c.bucket
    mine = select(rollups_table).where(rollups_table.c.run_id == trainer.run_id).order_by(*keys)
    return [dict(row) for row in connection.execute(mine).mappings()]


def rows_of(service: Service, trainer: Trainer) -> list[Row]:
    with service.database.read() as connection:
        return written(connection, trainer)


def in_one_go(service: Service, trainer: Trainer) -> list[tuple[int, ...]]:
    """What ingest would have written, had it been given each attempt at once."""
    found: list[tuple[int, ...]] = []
    with service.database.read() as connection:
        for attempt in range(trainer.attempt + 1):
            every = observations.read(connection, trainer.run_id, attempt=attempt, limit=1_000_000)
            columns = {"loss": [one.signals.get("loss") for one in every]}
            packed = Rolling(trainer.run_id, attempt).see([one.step for one in every], columns)
            found += sorted(row[1:7] for row in packed)
    return found


def keys_of(rows: list[Row]) -> list[tuple[int, ...]]:
    names = "attempt", "width", "bucket", "first_step", "last_step", "observations"
    return [tuple(row[name] for name in names) for row in rows]


def same_rows(one: list[Row], other: list[Row]) -> None:
    assert keys_of(one) == keys_of(other)
    for mine, theirs in zip(one, other):
        for name, value in mine.items():
            # A mean depends in its last bit on where envelopes began.
            if name.endswith("_mean"):
                assert value == pytest.approx(theirs[name], nan_ok=True), name
            elif name != "extra":
                assert value == theirs[name], name
        assert (mine["extra"] is None) == (theirs["extra"] is None)
        for name, parts in (mine["extra"] or {}).items():
            known = theirs["extra"][name]
            for at, part in enumerate(parts):
                assert (None if part is None else float(part)) == (
                    None if known[at] is None else pytest.approx(float(known[at]), nan_ok=True)
                )


def drawn(connection: Connection, trainer: Trainer, **wanted: int) -> list[Bucket]:
    told = buckets.read(connection, trainer.run_id, signals=SIGNALS, **{"points": 20, **wanted})
    return [bucket for columns in told for bucket in columns.buckets()]


def same_charts(service: Service, trainer: Trainer) -> None:
    """Of several widths and ranges: as if every observation were read."""
    asked = [{"points": 3}, {"points": 20}, {"points": 137}, {"from_step": 333, "to_step": 4_567}]
    with service.database.write() as connection:
        told = [drawn(connection, trainer, **one) for one in asked]
        kept = connection.execute(select(rollups_table)).mappings().all()
        connection.execute(delete(rollups_table))
        raw = [drawn(connection, trainer, **one) for one in asked]
        if kept:
            connection.execute(rollups_table.insert(), [dict(row) for row in kept])
    for mine, theirs in zip(told, raw):
        assert [(one.attempt, one.first_step, one.last_step, one.count) for one in mine] == [
            (one.attempt, one.first_step, one.last_step, one.count) for one in theirs
        ]
        for one, other in zip(mine, theirs):
            assert (one.minimum, one.maximum, one.nan_count) == (other.minimum, other.maximum, other.nan_count)
            assert one.mean == pytest.approx(other.mean, nan_ok=True)


@pytest.fixture
def in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollups, "ROWS_AT_ONCE", 300)


@pytest.mark.usefixtures("in_small_pieces")
def test_what_is_made_is_what_ingest_had_made(serve: Callable[..., Service]) -> None:
    service = serve()
    ended, rolled_back, short, silent = Trainer(), Trainer(), Trainer(), Trainer()
    for trainer in (ended, rolled_back, short, silent):
        service.register(trainer)
    send(service, ended, STEPS)
    service.send(ended.envelope(state="finished"))
    send(service, rolled_back, STEPS, seed=2)
    rolled_back.attempt, rolled_back.step = 1, 777
    send(service, rolled_back, 1_500, seed=3)
    # Late, and with gaps: steps of the abandoned attempt between those that are there.
    rolled_back.attempt, rolled_back.step = 2, 2_000
    send(service, rolled_back, 40, seed=4)
    service.send(rolled_back.envelope(blocks=[block_of(2, 40_000, [1.0] * 100)]))
    service.send(rolled_back.envelope(blocks=[block_of(1, 100_000, [7.0])]))
    send(service, short, 20)
    expected = {trainer: rows_of(service, trainer) for trainer in (ended, rolled_back, short, silent)}
    assert len(expected[ended]) > 150

    service = upgraded(service, serve)
    assert {name for name, _ in backlog_of(service)} == {one.run_id.hex for one in (ended, rolled_back, short)}
    assert rows_of(service, ended) == []
    same_charts(service, ended)
    finish(service)
    assert backlog_of(service) == set()
    for trainer in (ended, short, silent):
        same_rows(rows_of(service, trainer), expected[trainer])
    # The late step closes the last bucket of its attempt, which ingest had left open.
    mine = [row for row in rows_of(service, rolled_back) if row["attempt"] != 1]
    same_rows(mine, [row for row in expected[rolled_back] if row["attempt"] != 1])
    assert keys_of(rows_of(service, rolled_back)) == in_one_go(service, rolled_back)
    for trainer in (ended, rolled_back, short):
        same_charts(service, trainer)
    before = rows_of(service, ended)
    assert finish(service) == 0
    assert rows_of(service, ended) == before


@pytest.mark.usefixtures("in_small_pieces")
@pytest.mark.parametrize("seed", range(4))
def test_a_run_that_goes_on_meanwhile_gets_every_bucket_once(serve: Callable[..., Service], seed: int) -> None:
    chance = random.Random(seed)
    service = serve()
    service.register(trainer := Trainer())
    send(service, trainer, chance.randrange(100, 5_000))
    service = upgraded(service, serve)
    # Some steps before the first piece: the process remembers open buckets without their beginning.
    for _ in range(chance.randrange(3)):
        send(service, trainer, chance.randrange(1, 700), seed=seed)
    other = serve()
    went_on = 0
    while piece(service) or went_on < 12:
        for _ in range(chance.randrange(3)):
            went_on += 1
            send(chance.choice([service, other]), trainer, chance.choice([1, 32, 50, 128, 700]), seed=seed + went_on)
        if chance.random() < 0.15:
            same_charts(service, trainer)
    send(service, trainer, 2 * WIDTHS[3], seed=99)
    assert backlog_of(service) == set()
    assert keys_of(rows_of(service, trainer)) == in_one_go(service, trainer)
    same_charts(service, trainer)


@pytest.mark.usefixtures("in_small_pieces")
def test_a_process_that_remembers_buckets_without_a_beginning_leaves_no_hole(serve: Callable[..., Service]) -> None:
    service = serve()
    # In the order of the backlog; for each, the run goes on after one piece more of the work on it.
    trainers = sorted((Trainer() for _ in range(8)), key=lambda trainer: trainer.run_id.hex)
    for trainer in trainers:
        service.register(trainer)
        send(service, trainer, 1_110)
    service = upgraded(service, serve)
    settled = 0
    for pieces, trainer in enumerate(trainers):
        send(service, trainer, 10)
        for _ in range(pieces):
            assert (trainer.run_id.hex, 0) in backlog_of(service), "a piece more than there are"
            piece(service)
        settled += (trainer.run_id.hex, 0) not in backlog_of(service)
        send(service, trainer, 500)
        while (trainer.run_id.hex, 0) in backlog_of(service):
            piece(service)
        send(service, trainer, 1_700)
        assert keys_of(rows_of(service, trainer)) == in_one_go(service, trainer), pieces
        same_charts(service, trainer)
    assert settled


@pytest.mark.usefixtures("in_small_pieces")
def test_beside_an_ingest_at_work_no_bucket_is_lost_or_made_twice(serve: Callable[..., Service]) -> None:
    service = serve()
    trainers = [Trainer(), Trainer()]
    for trainer in trainers:
        service.register(trainer)
        send(service, trainer, 3_000)
    service = upgraded(service, serve)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            finish(service)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive() or trainers[0].step < 4_000:
        for trainer in trainers:
            send(service, trainer, 70, seed=trainer.step)
    thread.join()
    assert failures == []
    assert backlog_of(service) == set()
    for trainer in trainers:
        assert keys_of(rows_of(service, trainer)) == in_one_go(service, trainer)
        same_charts(service, trainer)


def test_a_new_run_is_left_alone(serve: Callable[..., Service]) -> None:
    service = serve()
    service.register(old := Trainer())
    send(service, old, 1_000)
    service = upgraded(service, serve)
    service.register(new := Trainer())
    send(service, new, 1_000)
    before, version = rows_of(service, new), service.run(new.run_id).version
    assert {name for name, _ in backlog_of(service)} == {old.run_id.hex}
    finish(service)
    assert rows_of(service, new) == before
    assert service.run(new.run_id).version == version
    assert keys_of(rows_of(service, old)) == in_one_go(service, old)


KILLED_WORKER = """
import sys
from monitor_server.housekeeping import Desk
from monitor_server.housekeeping.rollup_backlog import work_off
from monitor_server.settings import Settings
from monitor_server.storage import Database, rollups

rollups.ROWS_AT_ONCE = 300
database = Database(sys.argv[1])
settings = Settings(database=sys.argv[1])
for number in range(1_000):
    with database.write() as connection:
        assert work_off(Desk(connection, settings, 0.0, 0.0))
        if number == 4:
            print("in the middle of a piece", flush=True)
            sys.stdin.read()
"""


@pytest.mark.usefixtures("in_small_pieces")
def test_a_process_killed_in_the_middle_is_followed_by_another(serve: Callable[..., Service], address: str) -> None:
    service = serve()
    service.register(trainer := Trainer())
    send(service, trainer, STEPS)
    expected = rows_of(service, trainer)
    service = upgraded(service, serve)
    worker = subprocess.Popen(
        [sys.executable, "-c", KILLED_WORKER, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "in the middle of a piece\n"
        os.kill(worker.pid, signal.SIGKILL)
    # Four pieces were committed; the fifth was not.
    begun = rows_of(service, trainer)
    assert 0 < len(begun) < len(expected)
    same_charts(service, trainer)
    finish(service)
    same_rows(rows_of(service, trainer), expected)
    same_charts(service, trainer)


def test_the_housekeeper_works_it_off_in_pieces_that_envelopes_can_wait_for(serve: Callable[..., Service]) -> None:
    assert ROWS_AT_ONCE <= 5_000
    service = serve()
    service.register(trainer := Trainer())
    send(service, trainer, 5_000)
    service = upgraded(service, serve)
    Housekeeper(service.database, service.settings, clock=service.clock, chores=CHORES).do_round()
    assert backlog_of(service) == set()
    assert keys_of(rows_of(service, trainer)) == in_one_go(service, trainer)


def test_retention_waits_until_the_roll_ups_are_whole(serve: Callable[..., Service]) -> None:
    service = serve()
    service.register(trainer := Trainer())
    send(service, trainer, 3_000)
    service.send(trainer.envelope(state="finished"))
    service = upgraded(service, serve, retention={"*": 1.0})
    service.clock.now += 10 * 86_400.0
    with service.database.read() as connection:
        before = drawn(connection, trainer)
    thinning = [chore for chore in CHORES if chore.name == "thin out old observations"]
    hasty = Housekeeper(service.database, service.settings, clock=service.clock, chores=thinning)
    hasty.do_round()
    hasty.stop()
    count = select(func.count()).select_from(observations_table)
    with service.database.read() as connection:
        assert connection.execute(count).scalar_one() == 3_000
    Housekeeper(service.database, service.settings, clock=service.clock).do_round()
    with service.database.read() as connection:
        assert connection.execute(count).scalar_one() == 0
        after = drawn(connection, trainer)
    assert sum(one.count for one in after) == sum(one.count for one in before) == 3_000
    assert min(one.minimum["loss"] for one in after) == min(one.minimum["loss"] for one in before)


def test_a_run_that_is_deleted_leaves_no_backlog(serve: Callable[..., Service]) -> None:
    service = serve()
    service.register(trainer := Trainer())
    send(service, trainer, 100)
    service = upgraded(service, serve)
    with service.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM runs")
    assert backlog_of(service) == set()
    assert piece(service) == 0
