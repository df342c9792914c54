"""Retention: what is past its time goes in pieces, its chart stays; one process of many does the housekeeping."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest
from sqlalchemy import delete, func, select, update

from monitor_server.housekeeping import Chore, Desk, Housekeeper
from monitor_server.housekeeping.retention import ROWS_AT_ONCE, thin_out
from monitor_server.housekeeping.vacuum import PAGES_AT_ONCE, give_back
from monitor_server.live import Rolling
from monitor_server.settings import SettingsError, read_settings
from monitor_server.storage import Database, Election, buckets
from monitor_server.storage.tables import observations, rollups, runs
from tests.monitor_server.service import HEALTHY, Service, Trainer, block_of

DAY = 86_400.0


def left(service: Service, trainer: Trainer) -> int:
    with service.database.read() as connection:
        mine = select(func.count()).select_from(observations).where(observations.c.run_id == trainer.run_id)
        return int(connection.execute(mine).scalar_one())


def thin(service: Service) -> int:
    with service.database.write() as connection:
        return thin_out(Desk(connection, service.settings, service.clock(), 0.0))


def test_what_is_past_its_time_goes_and_its_chart_stays(
    serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor_server.housekeeping.retention.ROWS_AT_ONCE", 70)
    service = serve(retention={"brief": 10.0, "*": 100.0})
    brief, other, running = Trainer(project="brief"), Trainer(), Trainer(project="brief")
    for trainer in (brief, other, running):
        service.register(trainer)
        service.send(trainer.steps(HEALTHY[:150]))
    for trainer in (brief, other):
        service.send(trainer.envelope(state="finished"))
    service.clock.now += 9 * DAY
    assert thin(service) == 0
    service.clock.now += 2 * DAY
    assert [thin(service) for _ in range(4)] == [70, 70, 10, 0]
    assert (left(service, brief), left(service, other), left(service, running)) == (0, 150, 150)

    with service.database.read() as connection:
        [columns] = buckets.read(connection, brief.run_id, signals=["loss"], points=1000)
    told = list(columns.buckets())
    assert [(one.first_step, one.last_step) for one in told] == [(0, 31), (32, 63), (64, 95), (96, 127), (128, 149)]
    assert sum(one.count for one in told) == 150
    assert told[-1].minimum["loss"] == min(HEALTHY[128:150])
    service.clock.now += 100 * DAY
    assert thin(service) == 70
    assert left(service, other) == 80


@pytest.mark.parametrize("elsewhere", [False, True], ids=["the same process", "another process"])
@pytest.mark.parametrize("steps", [20, 150, 500, 2_060])
def test_a_run_that_comes_back_after_it_was_thinned_out_goes_on(
    serve: Callable[..., Service], elsewhere: bool, steps: int
) -> None:
    service = serve(retention={"*": 10.0}, silent_after_seconds=60.0)
    service.register(trainer := Trainer())
    chance = random.Random(steps)
    losses = [chance.random() for _ in range(steps + 2_500)]
    service.send(trainer.steps(losses[:steps]))
    with service.database.write() as connection:
        connection.execute(update(runs).values(state="silent"))
    service.clock.now += 11 * DAY
    assert thin(service) == min(steps, ROWS_AT_ONCE)
    assert left(service, trainer) == 0
    pieces = [3, 10, 30, 64, 300, 1_000]
    for piece in [*pieces, 2_500 - sum(pieces)]:
        if elsewhere:
            service = serve(retention={"*": 10.0})
        service.send(trainer.steps(losses[trainer.step : trainer.step + piece]))
        with service.database.read() as connection:
            for points in (3, 40, 5_000):
                [columns] = buckets.read(connection, trainer.run_id, signals=["loss"], points=points)
                told = list(columns.buckets())
                assert sum(one.count for one in told) == trainer.step
                for one in told:
                    mine = losses[one.first_step : one.last_step + 1]
                    assert (one.count, one.minimum["loss"], one.maximum["loss"]) == (len(mine), min(mine), max(mine))
                    assert one.mean["loss"] == pytest.approx(sum(mine) / len(mine))
    expected = {row[1:7] for row in Rolling(trainer.run_id, 0).see(range(len(losses)), {"loss": losses})}
    names = "attempt", "width", "bucket", "first_step", "last_step", "observations"
    with service.database.read() as connection:
        kept = connection.execute(select(*(rollups.c[name] for name in names)))
        assert {tuple(row) for row in kept} >= expected
    # It ends a second time, and its charts stay.
    service.send(trainer.envelope(state="finished"))
    service.clock.now += 11 * DAY
    assert thin(service) == 2_500
    with service.database.read() as connection:
        [columns] = buckets.read(connection, trainer.run_id, signals=["loss"], points=20)
    assert sum(columns.counts) == len(losses)


def test_nothing_is_dropped_unless_somebody_wished_so(service: Service) -> None:
    service.register(trainer := Trainer())
    service.send(trainer.steps(HEALTHY[:10], state="finished"))
    service.clock.now += 10_000 * DAY
    assert thin(service) == 0


def test_a_piece_is_small_enough_to_wait_for() -> None:
    assert ROWS_AT_ONCE <= 10_000


def test_the_wishes_of_projects_are_read_from_a_variable() -> None:
    told = read_settings({}, {"TRAINGUARD_RETENTION": "demo=30, *=365"})
    assert told.retention == {"demo": 30.0, "*": 365.0}
    with pytest.raises(SettingsError, match="names no project"):
        read_settings({}, {"TRAINGUARD_RETENTION": "30"})
    with pytest.raises(SettingsError, match="retention"):
        read_settings({}, {"TRAINGUARD_RETENTION": "demo=soon"})


def test_of_many_processes_one_does_the_housekeeping(address: str, service: Service) -> None:
    first, second = Database(address), Database(address)
    one, other = Election(first), Election(second)
    assert one.is_won()
    assert one.is_won(), "it stays elected"
    assert other.is_won() is service.database.is_sqlite, "on SQLite there is one process, and it is elected"
    one.resign()
    assert other.is_won()
    other.resign()
    first.close()
    second.close()


def test_a_housekeeper_whose_connection_was_cut_is_followed_by_another(address: str, service: Service) -> None:
    if service.database.is_sqlite:
        return
    done: list[str] = []

    def keeper(name: str, database: Database) -> Housekeeper:
        chore = Chore("note", lambda desk: done.append(name) or 0)  # type: ignore[func-returns-value]
        return Housekeeper(database, service.settings, clock=service.clock, chores=[chore])

    databases = Database(address), Database(address)
    first, second = keeper("first", databases[0]), keeper("second", databases[1])
    first.do_round()
    second.do_round()
    with service.database.write() as connection:
        cut = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid "
        connection.exec_driver_sql(cut + "FROM pg_database WHERE datname = current_database())")
    # PostgreSQL only signals the process behind the connection: the lock is free once that process has ended.
    deadline = time.monotonic() + 60.0
    while done == ["first"] and time.monotonic() < deadline:
        second.do_round()
        time.sleep(0.01)
    first.do_round()
    for database in databases:
        database.close()
    assert done == ["first", "second"]


def test_a_sqlite_file_gives_back_what_was_freed(service: Service) -> None:
    service.register(trainer := Trainer())
    for start in range(0, 8_000, 4_000):
        block = block_of(0, start, [1.0] * 4_000, **{"my/signal": [0.123456789] * 4_000})
        service.send(trainer.envelope(blocks=[block]))
    with service.database.write() as connection:
        connection.execute(delete(observations))
    with service.database.write() as connection:
        desk = Desk(connection, service.settings, service.clock(), 0.0)
        if service.database.is_sqlite:
            free = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
            assert give_back(desk) == min(free, PAGES_AT_ONCE) > 100
            assert connection.exec_driver_sql("PRAGMA freelist_count").scalar_one() == max(0, free - PAGES_AT_ONCE)
        else:
            assert give_back(desk) == 0
