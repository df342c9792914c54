"""The worker by itself: what it says, in which order, how often, and what it does with each refusal."""

from __future__ import annotations

import gc
import itertools
import math
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from typing import Literal
from uuid import UUID

import pytest

from client_hook.delivery import (
    Item,
    MemoryTransport,
    NotAReceipt,
    Rejected,
    ServerBusy,
    TransportError,
    Unauthorized,
    UnknownRun,
    Unreachable,
)
from client_hook.delivery.transport import TooLarge
from tests.client_hook.delivery.bench import (
    RUN,
    Leaps,
    acknowledgement,
    bench,
    evaluation,
    fast,
    observation,
    receipt_for,
    steps_of,
)
from trainguard.wire import (
    AttemptReport,
    CheckpointReport,
    Command,
    Envelope,
    Finding,
    Halt,
    Observation,
    Receipt,
    RunDescription,
    WireModel,
)


class Answers:
    """A service that answers what it is told, call by call, and ordinarily when it was told nothing."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.tried: list[Envelope] = []

    def __call__(self, envelope: Envelope) -> Receipt:
        self.tried.append(envelope)
        if self.errors:
            raise self.errors.pop(0)
        return receipt_for(envelope)


def test_one_exchange_judges_sends_and_receives_before_it_returns() -> None:
    order = Command(
        command_id=UUID(int=1), attempt=0, revision=0, orders=(Halt(),), issued_at=1000.0, expires_at=2000.0
    )
    transport = MemoryTransport(lambda envelope: receipt_for(envelope, [order]))
    said = evaluation(1)
    on_bench = bench(transport, on_items=lambda items: ([said], True))
    on_bench.observe(0, 1)
    on_bench.worker.exchange()
    assert on_bench.judged == [observation(0), observation(1)]
    (envelope,) = transport.envelopes
    assert steps_of([envelope]) == [0, 1]
    assert envelope.evaluations == [said]
    assert on_bench.receipts[0].commands == [order]


def test_the_run_is_registered_before_the_first_envelope_and_once() -> None:
    transport = MemoryTransport(Answers())
    on_bench = bench(transport)
    for step in range(3):
        on_bench.observe(step)
        on_bench.worker.exchange()
    assert [description.run_id for description in transport.descriptions] == [RUN]
    assert [envelope.sequence for envelope in transport.envelopes] == [1, 2, 3]


def test_planned_steps_travel_with_one_more_registration() -> None:
    transport = MemoryTransport(Answers())
    on_bench = bench(transport)
    on_bench.worker.exchange()
    on_bench.worker.describe(total_steps=500)
    on_bench.worker.describe(total_steps=500)
    on_bench.worker.exchange()
    on_bench.worker.exchange()
    assert [description.total_steps for description in transport.descriptions] == [None, 500]


def test_an_envelope_says_where_the_trainer_stands() -> None:
    transport = MemoryTransport(Answers())
    on_bench = bench(transport)
    on_bench.standing.attempt, on_bench.standing.revision = 2, 3
    on_bench.worker.exchange()
    assert (transport.envelopes[0].attempt, transport.envelopes[0].revision) == (2, 3)


def test_more_than_one_envelope_holds_is_sent_in_several() -> None:
    transport = MemoryTransport(Answers())
    on_bench = bench(transport, max_observations=50_000)
    on_bench.observe(*range(25_000))
    on_bench.worker.exchange()
    assert [len(envelope.blocks[0].steps) for envelope in transport.envelopes] == [10_000, 10_000, 5_000]
    assert steps_of(transport.envelopes) == list(range(25_000))


@pytest.mark.parametrize(
    "error",
    [Unreachable("down"), NotAReceipt("a page"), ServerBusy("busy"), Unauthorized("who?"), RuntimeError("a bug")],
    ids=lambda error: type(error).__name__,
)
def test_whatever_keeps_an_envelope_the_very_same_is_sent_again(error: Exception) -> None:
    answers = Answers(error, error)
    on_bench = bench(MemoryTransport(answers), monotonic=Leaps())
    on_bench.observe(0)
    on_bench.worker.exchange()
    on_bench.observe(1)
    on_bench.worker.exchange()
    on_bench.worker.exchange()
    assert answers.tried[0] == answers.tried[1] == answers.tried[2]
    assert steps_of(answers.tried) == [0, 0, 0, 1]
    assert on_bench.said("2 messages wait") == 1
    assert on_bench.worker.status.last_error == ""


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (Unreachable("down"), 0.5),
        (ServerBusy("busy", 7.0), 7.0),
        (ServerBusy("busy"), 0.5),
        (ServerBusy("busy", 0.0), 0.5),
        (Unauthorized("who?"), 60.0),
    ],
)
def test_between_two_attempts_it_waits_as_long_as_the_reason_asks_for(error: TransportError, seconds: float) -> None:
    now = [0.0]
    answers = Answers(error)
    on_bench = bench(MemoryTransport(answers), monotonic=lambda: now[0])
    on_bench.worker._pace._chance = lambda: 1.0
    on_bench.observe(0)
    on_bench.worker.exchange()
    on_bench.worker.wake()
    now[0] = seconds - 0.01
    on_bench.worker.exchange()
    assert len(answers.tried) == 1
    now[0] = seconds
    on_bench.worker.exchange()
    assert len(answers.tried) == 2


def test_a_forgotten_run_is_registered_again_and_the_same_envelope_sent_in_the_same_exchange() -> None:
    answers = Answers()
    transport = MemoryTransport(answers)
    on_bench = bench(transport)
    on_bench.worker.exchange()
    answers.errors = [UnknownRun("who?")]
    on_bench.observe(0)
    on_bench.worker.exchange()
    assert len(transport.descriptions) == 2
    assert answers.tried[-1] == answers.tried[-2]
    assert steps_of(transport.envelopes) == [0]


def test_a_service_with_a_new_database_is_told_the_attempts_and_checkpoints_again() -> None:
    answers = Answers()
    transport = MemoryTransport(answers)
    on_bench = bench(transport)
    began = AttemptReport(attempt=0, start_step=0, reason="start", began_at=1000.0)
    on_bench.outbox.extend([began, checkpoint(1, "candidate"), checkpoint(2, "candidate"), checkpoint(1, "confirmed")])
    on_bench.outbox.put(checkpoint(2, "removed"))
    on_bench.worker.exchange()
    answers.errors = [UnknownRun("who?")]
    on_bench.observe(0)
    on_bench.worker.exchange()
    again, told = transport.envelopes[-2:]
    assert steps_of([again]) == [0]
    assert told.attempts == [began]
    assert told.checkpoints == [checkpoint(1, "confirmed")]


def checkpoint(number: int, state: Literal["candidate", "confirmed", "removed"]) -> CheckpointReport:
    return CheckpointReport(checkpoint_id=UUID(int=number), attempt=0, step=number, state=state, saved_at=1000.0)


def test_a_service_that_forgets_at_once_is_not_asked_without_pause() -> None:
    class Forgetful:
        def __call__(self, envelope: Envelope) -> Receipt:
            raise UnknownRun("who?")

    transport = MemoryTransport(Forgetful())
    on_bench = bench(transport, monotonic=lambda: 0.0)
    on_bench.observe(0)
    for _ in range(5):
        on_bench.worker.exchange()
    assert len(transport.descriptions) == 1
    assert on_bench.worker.status.messages_waiting == 1


def test_a_description_that_is_refused_is_said_once_and_costs_nothing_else() -> None:
    def refuse(description: RunDescription) -> None:
        raise Rejected("too long", "hostname")

    transport = MemoryTransport(Answers(), refuse)
    now = [0.0]
    on_bench = bench(transport, monotonic=lambda: now[0])
    on_bench.observe(0)
    for _ in range(3):
        on_bench.worker.exchange()
    assert on_bench.said("hostname: too long") == 1
    assert on_bench.judged == [observation(0)]
    assert on_bench.worker.status.messages_waiting == 1


def refusing(is_bad: Callable[[Envelope], bool], error: Callable[[], Rejected]) -> Callable[[Envelope], Receipt]:
    def answer(envelope: Envelope) -> Receipt:
        if is_bad(envelope):
            raise error()
        return receipt_for(envelope)

    return answer


def test_one_refused_observation_costs_no_other_message_its_way() -> None:
    transport = MemoryTransport(
        refusing(lambda e: 13 in steps_of([e]), lambda: Rejected("unlucky", "blocks.0.signals.loss"))
    )
    on_bench = bench(transport)
    on_bench.observe(*range(10))
    on_bench.outbox.put(acknowledgement(1))
    on_bench.observe(*range(10, 20))
    on_bench.worker.exchange()
    assert steps_of(transport.envelopes) == [step for step in range(20) if step != 13]
    assert [a.command_id for e in transport.envelopes for a in e.acknowledgements] == [UUID(int=1)]
    assert [e.sequence for e in transport.envelopes] == list(range(1, len(transport.envelopes) + 1))
    assert on_bench.said("dropped") == 1
    assert on_bench.said("blocks.0.signals.loss: unlucky") == 1
    assert on_bench.worker.status.observations_lost == 1
    assert transport.envelopes[-1].observations_lost == 1


def test_a_refused_acknowledgement_is_never_dropped_silently() -> None:
    transport = MemoryTransport(refusing(lambda e: bool(e.acknowledgements), lambda: Rejected("unknown command")))
    on_bench = bench(transport)
    on_bench.observe(0)
    on_bench.outbox.put(acknowledgement(77))
    on_bench.worker.exchange()
    assert steps_of(transport.envelopes) == [0]
    assert on_bench.said(str(UUID(int=77))) == 1
    assert on_bench.worker.status.reports_lost == 1


def test_an_envelope_too_large_is_sent_in_parts() -> None:
    transport = MemoryTransport(refusing(lambda e: len(steps_of([e])) > 300, lambda: TooLarge("over the limit")))
    on_bench = bench(transport)
    on_bench.observe(*range(1000))
    on_bench.worker.exchange()
    assert steps_of(transport.envelopes) == list(range(1000))
    assert on_bench.worker.status.observations_lost == 0


@pytest.mark.parametrize("field", ["attempt", "body.sent_at", "revision"])
def test_a_refused_head_costs_no_message_and_gets_a_new_one_later(field: str) -> None:
    answers = Answers(Rejected("stale", field))
    now = [0.0]
    on_bench = bench(MemoryTransport(answers), monotonic=lambda: now[0])
    on_bench.observe(0)
    on_bench.outbox.put(acknowledgement(1))
    on_bench.worker.exchange()
    on_bench.worker.exchange()
    assert len(answers.tried) == 1
    assert on_bench.said("stale") == 1
    on_bench.standing.attempt = 1
    now[0] = 60.0
    on_bench.worker.exchange()
    assert (answers.tried[1].attempt, steps_of(answers.tried[1:])) == (1, [0])
    assert answers.tried[1].acknowledgements == [acknowledgement(1)]


def test_a_refused_envelope_without_messages_is_not_sent_again_at_once() -> None:
    answers = Answers(*(Rejected("no") for _ in range(100)))
    on_bench = bench(MemoryTransport(answers), monotonic=lambda: 0.0)
    on_bench.worker.exchange()
    on_bench.worker.exchange()
    assert len(answers.tried) == 1


def test_a_head_that_cannot_be_written_is_said_and_does_not_turn_the_loop() -> None:
    answers = Answers()
    on_bench = bench(MemoryTransport(answers), monotonic=lambda: 0.0)
    on_bench.standing.revision = -1
    on_bench.observe(0)
    on_bench.worker.exchange()
    assert on_bench.said("revision") == 1
    assert on_bench.worker.status.messages_waiting == 1


def test_an_observation_that_cannot_travel_is_dropped_alone_and_counted() -> None:
    transport = MemoryTransport(Answers())
    on_bench = bench(transport)
    on_bench.observe(0)
    on_bench.outbox.put(Observation(0, 1, 1000.0, {"a name with spaces": 1.0}))
    on_bench.observe(2)
    on_bench.worker.exchange()
    assert steps_of(transport.envelopes) == [0, 2]
    assert on_bench.said("step 1 cannot be sent") == 1
    assert on_bench.worker.status.observations_lost == 1


@pytest.mark.parametrize("wrong", ["run", "sender", "sequence"])
def test_a_receipt_for_something_else_covers_nothing(wrong: str) -> None:
    change: dict[str, object] = {
        "run": {"run_id": UUID(int=99)},
        "sender": {"sender": UUID(int=99)},
        "sequence": {"sequence": 1},
    }
    answered = [0]

    def answer(envelope: Envelope) -> Receipt:
        answered[0] += 1
        receipt = receipt_for(envelope)
        return receipt.model_copy(update=change[wrong]) if answered[0] == 2 else receipt  # type: ignore[arg-type]

    transport = MemoryTransport(answer)
    on_bench = bench(transport, monotonic=Leaps())
    on_bench.worker.exchange()
    on_bench.observe(0)
    on_bench.worker.exchange()
    assert on_bench.said("the receipt is for") == 1
    on_bench.worker.exchange()
    assert transport.envelopes[-1] == transport.envelopes[-2]
    assert len(on_bench.receipts) == 2


def test_judging_that_raises_loses_no_message() -> None:
    def judge(items: list[Item]) -> tuple[Sequence[WireModel], bool]:
        raise KeyError("a detector's bug")

    transport = MemoryTransport(Answers())
    on_bench = bench(transport, on_items=judge)
    on_bench.observe(0)
    on_bench.worker.exchange()
    assert steps_of(transport.envelopes) == [0]
    assert on_bench.said("a detector's bug") == 1


def test_a_receipt_that_cannot_be_taken_in_does_not_stop_delivery() -> None:
    transport = MemoryTransport(Answers())
    on_bench = bench(transport)
    on_bench.worker._on_receipt = _raise
    for step in range(3):
        on_bench.observe(step)
        on_bench.worker.exchange()
    assert steps_of(transport.envelopes) == [0, 1, 2]


def _raise(receipt: Receipt) -> None:
    raise KeyError("a bug")


def test_without_a_transport_everything_is_judged_and_nothing_kept() -> None:
    on_bench = bench(None, on_items=lambda items: ([evaluation(1)], True))
    on_bench.observe(*range(100))
    on_bench.worker.exchange()
    assert len(on_bench.judged) == 100
    assert on_bench.worker.status.messages_waiting == 0
    on_bench.standing.run_state = "finished"
    on_bench.worker.close(1)
    assert on_bench.complaints == []


def test_memory_is_bounded_however_long_the_service_is_away() -> None:
    answers = Answers(*(Unreachable("down") for _ in range(10_000)))
    on_bench = bench(MemoryTransport(answers), max_observations=100, max_reports=50)
    for start in range(0, 20_000, 50):
        on_bench.observe(*range(start, start + 50))
        on_bench.outbox.put(acknowledgement(start + 1))
        on_bench.worker.exchange()
    status = on_bench.worker.status
    assert status.messages_waiting <= 50 + 1 + 100 + 50
    assert status.observations_lost == 20_000 - 50 - 100
    assert status.reports_lost > 0
    assert on_bench.said("were dropped so far") > 0


class KeepsNothing(list[Item]):
    """A record that is not measured with what it records."""

    def extend(self, items: Iterable[Item]) -> None:
        """Let go of them."""


def test_while_the_service_is_away_memory_is_small_and_does_not_grow() -> None:
    def away(envelope: Envelope) -> Receipt:
        raise Unreachable("down")

    on_bench = bench(MemoryTransport(away), max_observations=2_000, monotonic=Leaps())
    on_bench.judged = KeepsNothing()
    names = [f"signal_{index}" for index in range(14)]
    steps = itertools.count()

    def train(exchanges: int) -> int:
        for _ in range(exchanges):
            for step in itertools.islice(steps, 250):
                on_bench.observe(step, **dict.fromkeys(names, step / 7))
            on_bench.worker.exchange()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    train(1)
    tracemalloc.start()
    try:
        full = train(12)
        later = train(12)
        highest = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert on_bench.worker.status.messages_waiting == 2_250
    assert later < full + 50_000
    assert full < 800_000, "some 300 bytes each, where as they are measured they take 1,200"
    assert highest < 2_000_000


# -- the thread -------------------------------------------------------------------------------------------------


class Watched(MemoryTransport):
    """A transport that can be waited for."""

    def __init__(self, flush_seconds: float = 2.0) -> None:
        super().__init__(lambda envelope: receipt_for(envelope, flush_seconds=flush_seconds))
        self.changed = threading.Condition()
        self.times: list[float] = []

    def send(self, envelope: Envelope, *, timeout_seconds: float | None = None) -> Receipt:
        with self.changed:
            self.times.append(time.monotonic())
            receipt = super().send(envelope, timeout_seconds=timeout_seconds)
            self.changed.notify_all()
            return receipt

    def wait_for(self, condition: Callable[[], bool], seconds: float = 5.0) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, seconds), "it did not happen in time"


def test_the_first_envelope_leaves_at_once_and_the_next_at_the_services_pace() -> None:
    transport = Watched(flush_seconds=0.2)
    on_bench = bench(transport)
    on_bench.worker.start()
    transport.wait_for(lambda: len(transport.envelopes) == 1)
    on_bench.observe(0)
    transport.wait_for(lambda: steps_of(transport.envelopes) == [0])
    assert transport.times[1] - transport.times[0] > 0.19
    on_bench.worker.close(5)


def test_however_slow_the_pace_the_lease_does_not_run_out_in_between() -> None:
    now = [0.0]
    transport = MemoryTransport(
        lambda envelope: receipt_for(envelope, flush_seconds=3600.0).model_copy(update={"lease_seconds": 20.0})
    )
    on_bench = bench(transport, monotonic=lambda: now[0])
    on_bench.worker.exchange()
    assert on_bench.worker._pace.seconds_until_due() == 10.0


def test_no_thread_to_be_had_is_said_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    transport = Watched()
    on_bench = bench(transport)
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        on_bench.worker.start()
    assert not on_bench.worker.is_alive
    assert on_bench.said("can't start new thread") == 1
    on_bench.observe(0)
    on_bench.worker.start()
    transport.wait_for(lambda: steps_of(transport.envelopes) == [0])
    on_bench.worker.close(5)


def test_a_finding_does_not_wait_for_the_pace() -> None:
    transport = Watched(flush_seconds=3600.0)
    finding = Finding(
        kind="loss_spike",
        severity="critical",
        detector="loss_spike",
        signal="loss",
        attempt=0,
        step=5,
        onset_step=5,
        message="high",
    )

    def judge(items: list[Item]) -> tuple[Sequence[WireModel], bool]:
        spiked = any(isinstance(item, Observation) and math.isnan(item.signals["loss"]) for item in items)
        return ([finding], True) if spiked else ([], False)

    on_bench = bench(transport, on_items=judge)
    on_bench.worker.start()
    transport.wait_for(lambda: len(transport.envelopes) == 1)
    on_bench.observe(4)
    on_bench.outbox.put(observation(5, loss=math.nan))
    transport.wait_for(lambda: bool(transport.envelopes[-1].findings))
    assert steps_of(transport.envelopes) == [4, 5]
    on_bench.worker.close(5)


def test_a_fast_training_is_not_made_to_drop_what_a_slow_pace_keeps_waiting() -> None:
    transport = Watched(flush_seconds=3600.0)
    on_bench = bench(transport, max_observations=400)
    on_bench.worker.start()
    transport.wait_for(lambda: len(transport.envelopes) == 1)
    for step in range(0, 1_000, 200):  # half of what there is room for
        on_bench.observe(*range(step, step + 200))
        transport.wait_for(lambda: steps_of(transport.envelopes) == list(range(step + 200)))  # noqa: B023
    on_bench.observe(1_000)
    on_bench.worker.close(5)
    assert on_bench.worker.status.observations_lost == 0
    assert len(transport.envelopes) == 1 + 5 + 1


def test_wake_sends_what_waits_at_once() -> None:
    transport = Watched(flush_seconds=3600.0)
    on_bench = bench(transport)
    on_bench.worker.start()
    transport.wait_for(lambda: len(transport.envelopes) == 1)
    for number in range(1, 30):
        on_bench.outbox.put(acknowledgement(number))
        on_bench.worker.wake()
        transport.wait_for(lambda: transport.envelopes[-1].acknowledgements == [acknowledgement(number)])  # noqa: B023
    on_bench.worker.close(5)


def test_a_quiet_trainer_still_shows_that_it_lives() -> None:
    transport = Watched(flush_seconds=0.01)
    on_bench = bench(transport)
    on_bench.worker.start()
    transport.wait_for(lambda: len(transport.envelopes) >= 5)
    on_bench.worker.close(5)


@pytest.mark.parametrize("is_threaded", [True, False])
@pytest.mark.parametrize("state", ["finished", "failed", "halted"])
def test_the_end_is_told_even_when_nothing_else_waits(state: str, is_threaded: bool) -> None:
    transport = Watched(flush_seconds=3600.0)
    on_bench = bench(transport)
    if is_threaded:
        on_bench.worker.start()
        transport.wait_for(lambda: len(transport.envelopes) == 1)
    else:
        on_bench.worker.exchange()
    on_bench.standing.run_state = state  # type: ignore[assignment]
    on_bench.worker.close(5)
    assert transport.envelopes[-1].state == state
    assert transport.is_closed
    assert not on_bench.worker.is_alive
    assert on_bench.complaints == []


def test_closing_delivers_everything_that_waits_and_the_end_behind_it() -> None:
    transport = Watched(flush_seconds=3600.0)
    on_bench = bench(transport, max_observations=50_000)
    on_bench.worker.start()
    on_bench.observe(*range(12_000))
    on_bench.standing.run_state = "finished"
    on_bench.worker.close(10)
    assert steps_of(transport.envelopes) == list(range(12_000))
    assert transport.envelopes[-1].state == "finished"


def test_a_connection_lost_at_the_very_end_is_tried_again() -> None:
    answers = Answers()
    transport = MemoryTransport(answers)
    on_bench = bench(transport)
    on_bench.worker.exchange()
    answers.errors = [Unreachable("reset")]
    on_bench.standing.run_state = "finished"
    on_bench.worker.close(5)
    assert transport.envelopes[-1].state == "finished"


def test_a_service_known_to_be_away_does_not_hold_the_end() -> None:
    answers = Answers(*(Unreachable("down") for _ in range(100)))
    on_bench = bench(MemoryTransport(answers), monotonic=lambda: 0.0)
    on_bench.observe(0)
    on_bench.worker.exchange()
    on_bench.standing.run_state = "finished"
    began = time.monotonic()
    on_bench.worker.close(10)
    assert time.monotonic() - began < 1
    assert len(answers.tried) == 2
    assert on_bench.said("1 messages undelivered: down") == 1


def test_closing_twice_and_using_it_afterwards_does_nothing() -> None:
    transport = MemoryTransport(Answers())
    on_bench = bench(transport)
    on_bench.worker.exchange()
    on_bench.worker.close(1)
    on_bench.worker.close(1)
    on_bench.worker.start()
    on_bench.worker.exchange()
    on_bench.worker.wake()
    assert not on_bench.worker.is_alive
    assert len(transport.envelopes) == 1


def test_starting_twice_makes_one_thread() -> None:
    on_bench = bench(None)
    before = set(threading.enumerate())
    on_bench.worker.start()
    on_bench.worker.start()
    assert [one.name for one in threading.enumerate() if one not in before] == ["trainguard-delivery"]
    on_bench.worker.close(5)


def test_the_thread_outlives_faults_of_everybody_it_calls() -> None:
    calls = [0]

    def judge(items: list[Item]) -> tuple[Sequence[WireModel], bool]:
        calls[0] += 1
        if calls[0] % 2:
            raise ZeroDivisionError("a detector's bug")
        return [], True

    transport = Watched(flush_seconds=0.01)
    on_bench = bench(transport, on_items=judge, monotonic=fast)
    on_bench.worker._on_receipt = _raise
    on_bench.worker.start()
    for step in range(20):
        on_bench.observe(step)
        on_bench.worker.wake()
        transport.wait_for(lambda: step in steps_of(transport.envelopes))  # noqa: B023
    assert on_bench.worker.is_alive
    on_bench.worker.close(5)
    assert steps_of(transport.envelopes) == list(range(20))
