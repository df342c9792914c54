from __future__ import annotations

import logging

import pytest
import torch

from client_hook.guard import Complaints, Guard, raise_swallowed, record_swallowed, take_swallowed
from client_hook.recovery.checkpoints import MemoryCheckpoints
from tests.client_hook.little_training import LittleTraining


class Halted(Exception):
    pass


def test_our_exception_ends_here_and_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    guard = Guard()
    with guard:
        raise ValueError("ours")
    assert guard.faults == 1
    assert not guard.tripped
    assert "fault 1 of 20" in caplog.text
    assert [str(fault) for fault in take_swallowed()] == ["ours"]


def test_what_was_caught_is_swallowed_by_the_same_rules() -> None:
    guard = Guard(passes=(Halted,))
    try:
        raise ValueError("ours")
    except ValueError as fault:
        guard.caught(fault)
    assert guard.faults == 1
    assert [str(fault) for fault in take_swallowed()] == ["ours"]
    halted = Halted()
    with pytest.raises(Halted):
        guard.caught(halted)
    assert guard.faults == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, Halted])
def test_some_exceptions_are_never_swallowed(kind: type[BaseException]) -> None:
    guard = Guard(passes=(Halted,))
    with pytest.raises(kind), guard:
        raise kind("stop")
    assert guard.faults == 0


def test_an_exception_of_the_users_own_function_passes_through() -> None:
    guard = Guard()
    with pytest.raises(ZeroDivisionError), guard, guard.users_code():
        1 / 0  # noqa: B018
    assert guard.faults == 0
    with guard:  # and the next of ours is ours again
        raise ZeroDivisionError
    assert guard.faults == 1
    take_swallowed()


def test_our_exception_about_a_users_exception_is_ours() -> None:
    guard = Guard()
    with guard:
        try:
            with guard.users_code():
                raise KeyError("theirs")
        except KeyError as theirs:
            raise RuntimeError("ours") from theirs
    assert guard.faults == 1
    take_swallowed()


def test_after_the_limit_it_has_tripped_says_so_once_and_calls_nothing(caplog: pytest.LogCaptureFixture) -> None:
    guard = Guard(limit=3)
    calls = []

    @guard
    def measure() -> int:
        calls.append(1)
        raise RuntimeError(f"fault {len(calls)}")

    assert [measure() for _ in range(5)] == [None] * 5
    assert len(calls) == 3
    assert guard.tripped
    assert sum("switches its watching off" in record.message for record in caplog.records) == 1
    assert len(take_swallowed()) == 3


def test_the_same_complaint_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    guard = Guard(limit=100, clock=lambda: now[0])
    for _ in range(50):
        with guard:
            raise ValueError("again and again")
        now[0] += 2.0
    take_swallowed()
    assert len(caplog.records) == 2
    assert "times since it was last said" in caplog.records[1].getMessage()


def test_a_checkpoint_that_cannot_be_taken_at_any_step_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    training = LittleTraining()
    hook = training.attach(mode="observe", checkpoints=MemoryCheckpoints(), checkpoint_every=1)
    with torch.no_grad():
        next(training.model.parameters()).fill_(float("nan"))
    for _ in range(10):
        hook.observe(training.gradients())
        training.update()
    hook.close()
    assert sum("no checkpoint at step" in message for message in caplog.messages) == 1


def test_complaints_of_different_kinds_do_not_hold_each_other_back() -> None:
    complaints = Complaints(logging.getLogger("trainguard"), clock=lambda: 0.0)
    assert complaints.say("a", "one")
    assert complaints.say("b", "two")
    assert not complaints.say("a", "one")
    for number in range(1000):  # bounded
        complaints.say(str(number), "x", level=logging.DEBUG)
    assert len(complaints._said) <= Complaints.KINDS_KEPT


def test_swallowed_faults_keep_no_frames_alive_outside_of_tests() -> None:
    raise_swallowed()  # ends the recording that the fixture began
    guard = Guard()
    with guard:
        try:
            raise KeyError("first")
        except KeyError as first:
            raise ValueError("second") from first
    fault = guard.swallowed[0]
    assert fault.__traceback__ is None
    assert fault.__cause__ is not None
    assert fault.__cause__.__traceback__ is None


def test_what_was_swallowed_is_raised_at_teardown() -> None:
    record_swallowed()
    with Guard():
        raise ValueError("hidden")
    with pytest.raises(ValueError, match="hidden"):
        raise_swallowed()


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="limit is 0"):
        Guard(limit=0)
