"""The chores, on both databases; every one harmless if doubled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from uuid import uuid4

import pytest
from sqlalchemy import func, select

from monitor_server.housekeeping import CHORES, Chore, Desk, Housekeeper
from monitor_server.housekeeping.old_marks import (
    KEEP_NOTIFICATIONS_SECONDS,
    KEEP_SENDERS_SECONDS,
    KEEP_SNAPSHOTS_SECONDS,
)
from monitor_server.storage import commands, notifications, observations, reports, silences
from monitor_server.storage.tables import notifications as notifications_table
from monitor_server.storage.tables import panel_snapshots, senders
from tests.monitor_server.service import HEALTHY, Service, Trainer, diverge
from trainguard.wire import Finding

MANY_STEPS = [2.0 + 0.01 * (step % 7) for step in range(1100)]


def keep(service: Service, *, chores: tuple[Chore, ...] = CHORES) -> Housekeeper:
    return Housekeeper(service.database, service.settings, clock=service.clock, chores=chores)


def told(service: Service, trainer: Trainer) -> list[tuple[str, str]]:
    with service.database.read() as connection:
        return [
            (one["event"], one["document"]["sentence"]) for one in notifications.of_run(connection, trainer.run_id, 100)
        ]


def silent_findings(service: Service, trainer: Trainer) -> list[Finding]:
    with service.database.read() as connection:
        stored = reports.findings_of(connection, trainer.run_id, source="server", limit=100)
    return [one.finding for one in stored if one.finding.detector == "silent_runs"]


def test_a_run_that_says_nothing_is_called_silent_and_told_of_once(serve: Callable[..., Service]) -> None:
    service = serve(webhook_url="http://127.0.0.1:9/")
    quiet, lively, ended = Trainer(), Trainer(), Trainer()
    first, second = keep(service), keep(service)
    for trainer in (quiet, lively, ended):
        service.register(trainer)
        service.send(trainer.steps(HEALTHY))
    service.send(ended.envelope(state="finished"))
    service.clock.now += 301
    service.send(lively.steps([2.3]))
    first.do_round()
    second.do_round()
    assert [service.run(one.run_id).state for one in (quiet, lively, ended)] == ["silent", "running", "finished"]
    assert told(service, quiet) == [("silent", "Nothing was heard of it for 5 minutes; it was last seen at step 299.")]
    assert told(service, lively) == told(service, ended) == []
    assert [(one.kind, one.step, one.evidence["silent_seconds"]) for one in silent_findings(service, quiet)] == [
        ("silent", 299, 301.0)
    ]
    assert not silent_findings(service, lively)

    service.send(quiet.steps([2.3]))
    assert service.run(quiet.run_id).state == "running"
    service.clock.now += 301
    first.do_round()
    assert len(told(service, quiet)) == 2, "it fell silent a second time"


def test_after_an_outage_of_the_service_the_trainers_get_time_to_come_back(serve: Callable[..., Service]) -> None:
    service = serve()
    trainer = Trainer()
    service.register(trainer)
    service.clock.now += 86_400
    housekeeper = keep(service)
    housekeeper.do_round()
    assert service.run(trainer.run_id).state == "running"
    service.clock.now += 301
    housekeeper.do_round()
    assert service.run(trainer.run_id).state == "silent"


def test_a_silenced_run_falls_silent_without_a_word(serve: Callable[..., Service]) -> None:
    service = serve(webhook_url="http://127.0.0.1:9/")
    trainer, housekeeper = Trainer(), keep(service)
    service.register(trainer)
    now = service.clock()
    with service.database.write() as connection:
        silences.add(
            connection, silences.Silence(uuid4(), now, now + 3600, "ada", "Maintenance.", run_id=trainer.run_id)
        )
    service.clock.now += 301
    housekeeper.do_round()
    assert service.run(trainer.run_id).state == "silent"
    assert told(service, trainer) == []


def test_a_command_that_nobody_answered_expires(service: Service) -> None:
    trainer, housekeeper = Trainer(), keep(service)
    receipt, known = diverge(service, trainer)
    service.clock.now += service.settings.command_ttl_seconds
    housekeeper.do_round()
    with service.database.read() as connection:
        [stored] = commands.of_run(connection, trainer.run_id, 10)
    assert (stored.state, stored.settled_at) == ("expired", service.clock.now)

    service.send(trainer.obey(receipt.commands[0], known))
    with service.database.read() as connection:
        [stored] = commands.of_run(connection, trainer.run_id, 10)
    assert stored.state == "applied", "an answer beats an expiry that was written before it came"


def test_old_marks_are_dropped_and_history_is_kept(serve: Callable[..., Service]) -> None:
    service = serve(webhook_url="http://127.0.0.1:9/")
    over, going_on = Trainer(), Trainer()
    for trainer in (over, going_on):
        service.register(trainer)
        service.send(trainer.steps(MANY_STEPS))
    service.send(over.envelope(state="failed"))
    diverge(service, troubled := Trainer())
    with service.database.write() as connection:
        for letter in notifications.claim(connection, service.clock(), hold_seconds=1):
            notifications.delivered(connection, letter)

    def left() -> tuple[int, ...]:
        with service.database.read() as connection:
            tables = (panel_snapshots, senders, notifications_table)
            return tuple(connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables)

    snapshots_now, senders_now, letters_now = left()
    assert senders_now == 3
    assert letters_now >= 1
    for days, expected in (
        (KEEP_SNAPSHOTS_SECONDS, (snapshots_now - 1, senders_now, letters_now)),
        (KEEP_SENDERS_SECONDS, (snapshots_now - 1, 0, letters_now)),
        (KEEP_NOTIFICATIONS_SECONDS, (snapshots_now - 1, 0, 0)),
    ):
        service.clock.now = 1_700_000_000.0 + days + 1
        housekeeper = keep(service)
        housekeeper.do_round()
        housekeeper.stop()  # or on PostgreSQL it stays the elected one
        assert left() == expected
    with service.database.read() as connection:
        assert len(observations.read(connection, over.run_id)) == len(MANY_STEPS)
    assert service.send(going_on.steps([2.0])).findings == ()
    assert service.run(troubled.run_id).finding_counts


def test_a_chore_that_fails_keeps_none_of_the_others_from_being_done(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[float] = []

    def stumble(desk: Desk) -> int:
        raise RuntimeError("stumbled")

    def work(desk: Desk) -> int:
        done.append(desk.now)
        return 1

    housekeeper = keep(service, chores=(Chore("a", stumble), Chore("b", work), Chore("c", work, every_seconds=60)))
    housekeeper.do_round()
    service.clock.now += 30
    housekeeper.do_round()
    assert len(done) == 3
    assert "chore 'a' failed" in caplog.text


def test_the_thread_does_its_rounds_and_stops_at_once(serve: Callable[..., Service]) -> None:
    service = serve(housekeeping_seconds=0.01)
    rounds = threading.Semaphore(0)

    def work(desk: Desk) -> int:
        rounds.release()
        return 0

    housekeeper = keep(service, chores=(Chore("count", work),))
    housekeeper.start()
    assert all(rounds.acquire(timeout=30) for _ in range(3))
    housekeeper.stop()
    assert not housekeeper._thread.is_alive()


def test_a_clock_that_is_set_back_delays_no_chore(serve: Callable[..., Service]) -> None:
    service = serve()
    done = []
    chore = Chore("counting", lambda desk: done.append(desk.now) or 0, every_seconds=3600.0)  # type: ignore[func-returns-value]
    keeper = keep(service, chores=(chore,))
    keeper.do_round()
    keeper.do_round()
    service.clock.now -= 86_400
    keeper.do_round()
    keeper.do_round()
    assert len(done) == 2
