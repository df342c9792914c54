"""One envelope after the other, on both databases."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from sqlalchemy import select

from monitor_server.pipeline import Case, EnvelopeRefused, Ingest, Overloaded, UnknownRun
from monitor_server.pipeline.ingest import MOST_ENVELOPES, MOST_PRESSURE
from monitor_server.pipeline.transaction import Transaction
from monitor_server.storage import (
    DatabaseUnavailable,
    attempts,
    commands,
    incidents,
    notifications,
    observations,
    reports,
    runs,
)
from monitor_server.storage.tables import observations as observations_table
from tests.monitor_server.service import DIVERGING, HEALTHY, Service, Trainer, block_of, diverge
from trainguard.wire import AttemptReport, Command, DecisionReport, Finding, IncidentReport, LowerLearningRate, Rollback


@contextmanager
def held(service: Service, trainer: Trainer) -> Iterator[None]:
    """Nobody else can write of this trainer's run."""
    with service.database.write() as connection:
        runs.lock(connection, [trainer.run_id])
        yield


def losses_of(service: Service, trainer: Trainer, attempt: int | None = None) -> list[float | None]:
    with service.database.read() as connection:
        return [row.get("loss") for row in observations.read(connection, trainer.run_id, attempt=attempt)]


def test_an_envelope_is_recorded_before_its_receipt_leaves(service: Service) -> None:
    trainer = Trainer()
    assert service.register(trainer)
    before = service.run(trainer.run_id)
    case = service.send(trainer.steps([2.0, 1.9, 1.8]))
    assert case.receipt is not None
    assert (case.receipt.status, case.receipt.sequence, case.stored) == ("recorded", 1, 3)
    assert losses_of(service, trainer) == [2.0, 1.9, 1.8]
    run = service.run(trainer.run_id)
    assert (run.last_step, run.observations_total, run.version - before.version) == (2, 3, 1)
    assert run == case.run


def test_a_repeated_envelope_changes_nothing_and_is_answered_with_the_open_commands(service: Service) -> None:
    trainer = Trainer()
    receipt, _ = diverge(service, trainer)
    before = service.run(trainer.run_id)
    again = trainer.envelope(sequence=trainer.sequence, blocks=[block_of(0, 340, [0.0])])
    repeated = service.receipt(again)
    assert repeated.status == "duplicate"
    assert repeated.sequence == trainer.sequence - 1
    assert repeated.commands == receipt.commands != []
    assert service.run(trainer.run_id) == before
    assert len(losses_of(service, trainer)) == 340


def test_an_unknown_run_is_told_to_register(service: Service) -> None:
    with pytest.raises(UnknownRun, match="POST its description"):
        service.send(Trainer().steps([1.0]))


def test_a_bad_neighbour_harms_nobody(serve: Callable[..., Service]) -> None:
    service = serve()
    good, stranger, liar = Trainer(), Trainer(), Trainer()
    service.register(good)
    service.register(liar)
    with held(service, good):  # meanwhile the others gather, and are recorded in one transaction
        waiting = [
            service.ingest.submit(good.steps([1.0])),
            service.ingest.submit(stranger.steps([1.0])),
            service.ingest.submit(liar.envelope(blocks=[block_of(7, 0, [1.0])])),
            service.ingest.submit(liar.envelope(sequence=1, blocks=[block_of(0, 0, [5.0])])),
            service.ingest.submit(good.steps([2.0])),
        ]
    assert [waiting[index].result(30).stored for index in (0, 3, 4)] == [1, 1, 1]
    assert isinstance(waiting[1].exception(30), UnknownRun)
    refusal = waiting[2].exception(30)
    assert isinstance(refusal, EnvelopeRefused)
    assert refusal.field_path == "blocks.0.attempt"
    assert losses_of(service, good) == [1.0, 2.0]
    assert losses_of(service, liar) == [5.0]


def test_a_ring_of_attempts_is_refused(service: Service) -> None:
    trainer = Trainer()
    service.register(trainer)
    ring = AttemptReport(attempt=1, parent=1, start_step=0, reason="rollback", began_at=0.0)
    with pytest.raises(EnvelopeRefused, match="a parent is an earlier attempt") as refusal:
        service.send(trainer.envelope(attempt=1, attempts=[ring]))
    assert refusal.value.field_path == "attempts.0.parent"


def test_nan_and_the_infinities_come_back_as_they_were_sent(service: Service) -> None:
    trainer = Trainer()
    service.register(trainer)
    sent = [math.nan, math.inf, -math.inf, 1.0]
    service.send(trainer.envelope(blocks=[block_of(0, 0, sent, **{"my/metric": sent[::-1], "grad_norm": [None] * 4})]))
    with service.database.read() as connection:
        rows = observations.read(connection, trainer.run_id)
        raw = connection.execute(select(observations_table.c.loss, observations_table.c.nan_mask)).all()
    assert [str(row.get("loss")) for row in rows] == ["nan", "inf", "-inf", "1.0"]
    assert [str(row.get("my/metric")) for row in rows] == ["1.0", "-inf", "inf", "nan"]
    assert all("grad_norm" not in row.signals for row in rows), "null means not measured, which is not NaN"
    assert raw[0] == (None, 1)
    assert str(service.run(trainer.run_id).last_signals) == "{'loss': 1.0}"


def test_the_run_diverges_and_recovers(service: Service) -> None:
    trainer = Trainer()
    receipt, known = diverge(service, trainer)
    [command] = receipt.commands
    first = command.orders[0]
    assert isinstance(first, Rollback)
    assert first.checkpoint_id == known[1].checkpoint_id
    assert (command.attempt, command.revision) == (0, 0)
    assert "step 200" in receipt.message

    answered = service.receipt(trainer.obey(command, known))
    assert answered.commands == []
    run = service.run(trainer.run_id)
    assert (run.attempt, run.revision, run.rollbacks_total, run.lr_scale) == (1, 1, 1, 0.5)
    service.send(trainer.steps(HEALTHY[200:300] * 2))
    with service.database.read() as connection:
        [told] = incidents.listing(connection, kinds=["divergence"])
        stored = commands.of_run(connection, trainer.run_id, 10)
        decided = incidents.decisions_of(connection, trainer.run_id)
    assert (told.incident.state, told.incident.rung, told.brain) == ("resolved", 1, "server")
    assert "Recovered" in told.incident.outcome
    assert [one.state for one in stored] == ["applied"]
    assert [one.verdict for one in decided][-1] == "act"
    assert service.run(trainer.run_id).finding_counts["divergence/critical"] == 1


def test_the_second_incident_climbs_the_second_rung(service: Service) -> None:
    trainer = Trainer()
    receipt, known = diverge(service, trainer)
    service.send(trainer.obey(receipt.commands[0], known))
    service.send(trainer.steps(HEALTHY[200:300] * 2))
    second = service.receipt(trainer.steps(DIVERGING))
    [command] = second.commands
    assert (command.attempt, command.revision) == (1, 1)
    assert [order.action for order in command.orders].count("reset_moments") == 1
    assert "remedy 2 of 4" in command.reason


def test_steps_of_an_abandoned_attempt_stay_readable(service: Service) -> None:
    trainer = Trainer()
    receipt, known = diverge(service, trainer)
    service.send(trainer.obey(receipt.commands[0], known))
    service.send(trainer.steps([2.3] * 50))
    assert losses_of(service, trainer, attempt=0) == [*HEALTHY, *DIVERGING]
    assert losses_of(service, trainer, attempt=1) == [2.3] * 50
    with service.database.read() as connection:
        told = attempts.of_run(connection, trainer.run_id)
    assert [(one.attempt, one.parent, one.start_step) for one in told] == [(0, None, 0), (1, 0, 200)]


def test_an_older_attempt_is_history_and_is_not_judged(service: Service) -> None:
    trainer = Trainer()
    receipt, known = diverge(service, trainer)
    service.send(trainer.obey(receipt.commands[0], known))
    before = service.run(trainer.run_id)
    late = trainer.envelope(
        sender=uuid4(), sequence=1, attempt=0, revision=0, blocks=[block_of(0, 340, [math.nan] * 40)]
    )
    case = service.send(late.model_copy(update={"state": "failed"}))
    after = service.run(trainer.run_id)
    assert (case.stored, case.fresh, case.findings) == (40, (), ())
    assert (after.attempt, after.revision, after.last_step) == (1, 1, before.last_step)
    assert after.finding_counts == before.finding_counts
    assert after.state == "running"
    with service.database.read() as connection:
        [told] = incidents.listing(connection, kinds=["divergence"])
    assert told.incident.state == "watching", "the end of an abandoned attempt ends no incident"
    assert len(losses_of(service, trainer, attempt=0)) == 380


def test_a_refused_command_is_decided_again_and_then_a_person_is_called(service: Service) -> None:
    trainer = Trainer()
    receipt, _ = diverge(service, trainer)
    told = set()
    for _ in range(3):
        [command] = receipt.commands
        told.add(command.command_id)
        receipt = service.receipt(trainer.envelope(acknowledgements=[trainer.refuse(command)]))
    assert len(told) == 3
    assert receipt.commands == []
    assert service.run(trainer.run_id).escalations_total == 1


def test_an_expired_command_leaves_the_receipts(service: Service) -> None:
    trainer = Trainer()
    receipt, _ = diverge(service, trainer)
    [first] = receipt.commands
    service.clock.now += service.settings.command_ttl_seconds + 1
    [second] = service.receipt(trainer.steps([13.0])).commands
    assert second.command_id != first.command_id
    assert second.expires_at > service.clock.now


def test_what_a_local_brain_decided_is_recorded_as_its_own(service: Service) -> None:
    trainer = Trainer()
    service.register(trainer)
    incident = IncidentReport(
        incident_id=uuid4(), kind="divergence", state="watching", severity="critical", attempt=0, onset_step=5,
        detected_step=9, opened_at=1.0, updated_at=2.0,
    )  # fmt: skip
    decision = DecisionReport(
        decision_id=uuid4(), incident_id=incident.incident_id, decided_at=1.5, decided_by="local", attempt=0, step=9,
        verdict="act", orders=(LowerLearningRate(factor=0.5),), reason="The server is away.",
    )  # fmt: skip
    finding = Finding(
        kind="divergence", severity="critical", detector="divergence", attempt=0, step=9, onset_step=5, message="Up."
    )
    envelope = trainer.envelope(incidents=[incident], decisions=[decision], findings=[finding])
    service.send(envelope)
    with service.database.read() as connection:
        [told] = incidents.listing(connection, run_id=trainer.run_id)
        assert incidents.decisions_of(connection, trainer.run_id) == [decision]
        [found] = reports.findings_of(connection, trainer.run_id, source=None, limit=10)
    assert (told.brain, told.incident) == ("local", incident)
    assert (found.source, found.finding) == ("trainer", finding)


def test_what_a_local_brain_tried_is_not_tried_again_as_if_it_were_new(service: Service) -> None:
    trainer = Trainer()
    service.register(trainer)
    known = [trainer.checkpoint(0), trainer.checkpoint(200)]
    service.send(trainer.steps(HEALTHY, checkpoints=known))
    local = Command(
        command_id=uuid4(), attempt=0, revision=0, orders=(Rollback(checkpoint_id=known[1].checkpoint_id),),
        issued_at=0.0, expires_at=1.0,
    )  # fmt: skip
    service.send(trainer.obey(local, known))
    service.send(trainer.steps(HEALTHY[200:]))
    [command] = service.receipt(trainer.steps(DIVERGING)).commands
    assert "remedy 2 of 4" in command.reason


def test_what_a_local_brain_gave_up_is_told_to_people_once(serve: Callable[..., Service]) -> None:
    service = serve(webhook_url="http://127.0.0.1:9/")
    trainer = Trainer()
    service.register(trainer)
    incident = IncidentReport(
        incident_id=uuid4(), kind="divergence", state="escalated", severity="critical", attempt=0, onset_step=5,
        detected_step=9, opened_at=1.0, updated_at=2.0, outcome="Nothing more: a person must look.",
    )  # fmt: skip
    for _ in range(2):
        service.send(trainer.envelope(incidents=[incident]))
    with service.database.read() as connection:
        [letter] = notifications.of_run(connection, trainer.run_id, 10)
    assert (letter["event"], letter["document"]["sentence"]) == ("escalated", incident.outcome)
    assert service.run(trainer.run_id).escalations_total == 1


def test_a_run_that_ended_says_so(service: Service) -> None:
    trainer = Trainer()
    service.register(trainer)
    service.send(trainer.steps([1.0], state="finished"))
    run = service.run(trainer.run_id)
    assert (run.state, run.ended_at) == ("finished", service.clock.now)
    assert len(service.memory) == 0
    service.send(trainer.steps([1.0]))
    assert service.run(trainer.run_id).ended_at is None


def test_confessed_losses_are_counted_once(service: Service) -> None:
    trainer = Trainer()
    service.register(trainer)
    for lost in (3, 3, 5):
        service.send(trainer.envelope(observations_lost=lost))
    service.send(trainer.envelope(sender=uuid4(), observations_lost=2**70))
    assert service.run(trainer.run_id).observations_lost == 2**63 - 1


def test_words_with_nul_characters_are_accepted(service: Service) -> None:
    trainer = Trainer(config={"prompt": "a\x00b", "big": 10**40, "nan": math.nan}, tags={"\x00": "\x00"})
    service.register(trainer)
    report = AttemptReport(attempt=0, start_step=0, reason="start", began_at=0.0, note="a\x00b")
    service.send(trainer.steps([1.0], attempts=[report]))
    assert service.run(trainer.run_id).described().config["prompt"] == "a\x00b"


def test_a_full_line_is_answered_at_once(serve: Callable[..., Service]) -> None:
    service = serve(ingest_queue=1)
    trainer = Trainer()
    service.register(trainer)
    with held(service, trainer):
        first = service.ingest.submit(trainer.steps([1.0]))
        with pytest.raises(Overloaded, match="wait for their commit"):
            _ = [service.ingest.submit(trainer.steps([1.0])) for _ in range(MOST_ENVELOPES + 2)]
    assert first.result(30).stored == 1


def test_stopping_finishes_what_waits(serve: Callable[..., Service]) -> None:
    service = serve()
    trainer = Trainer()
    service.register(trainer)
    with held(service, trainer):
        waiting = [service.ingest.submit(trainer.steps([1.0])) for _ in range(5)]
        stopping = threading.Thread(target=service.ingest.stop)
        stopping.start()
    stopping.join(30)
    assert [one.result(0).stored for one in waiting] == [1] * 5
    with pytest.raises(Overloaded, match="closing"):
        service.ingest.submit(trainer.steps([1.0]))


def test_a_transaction_that_cannot_commit_answers_everybody_and_forgets(serve: Callable[..., Service]) -> None:
    service = serve()
    trainer = Trainer()
    service.register(trainer)
    service.send(trainer.steps(HEALTHY))
    real, broken = service.database.write, threading.Event()

    def away() -> object:
        broken.set()
        raise DatabaseUnavailable("pulled the plug")

    service.database.write = away  # type: ignore[method-assign, assignment]
    lost = trainer.steps(DIVERGING[:10])
    assert isinstance(service.ingest.submit(lost).exception(30), DatabaseUnavailable)
    service.database.write = real  # type: ignore[method-assign]
    assert broken.is_set()
    assert service.receipt(lost).status == "recorded"
    assert len(losses_of(service, trainer)) == 310


def test_a_line_that_fills_asks_the_trainers_to_gather_for_longer(serve: Callable[..., Service]) -> None:
    service = serve(ingest_queue=8, flush_seconds=2.0)
    service.register(trainer := Trainer())
    assert service.receipt(trainer.steps([2.0])).flush_seconds == 2.0
    idle = Ingest(service.database, service.memory, service.settings, clock=service.clock)
    waiting = [trainer.steps([2.0]) for _ in range(8)]
    told = []
    for envelope in waiting:
        idle.submit(envelope)
        told.append(idle.pressure)
    assert told == sorted(told)
    assert (told[1], told[-1]) == (1.0, MOST_PRESSURE)
    with service.database.write() as connection:
        work = Transaction(connection, service.memory, service.settings, waiting[:1], one_by_one=False)
        work.record(waiting[0], 1.0)
        work.finish(1.0, pressure=idle.pressure)
    [case] = work.answers
    assert isinstance(case, Case)
    assert case.receipt is not None
    assert case.receipt.flush_seconds == 10.0
