from __future__ import annotations

from client_hook.delivery.pace import Pace


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_a_receipt_ends_the_growing_waits() -> None:
    pace = Pace(Clock())
    for _ in range(5):
        pace.failed()
    pace.succeeded(flush_seconds=2.0)
    assert not pace.is_failing
    pace.failed()
    assert pace.seconds_until_due() == Pace.FIRST_RETRY_SECONDS


def test_after_the_wait_the_envelope_is_due_whatever_the_service_had_asked_for_before() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.succeeded(flush_seconds=3600.0)
    pace.hurry()
    pace.failed()
    clock.now += Pace.FIRST_RETRY_SECONDS
    assert pace.seconds_until_due() == 0.0


def test_no_hurry_shortens_the_patience_a_service_asked_for() -> None:
    pace = Pace(Clock())
    pace.hold(7.0)
    pace.hurry()
    assert pace.seconds_until_due() == 7.0


def test_at_the_end_one_more_attempt_is_due_at_once() -> None:
    pace = Pace(Clock())
    pace.hold(300.0)
    pace.forgive()
    assert pace.seconds_until_due() == 0.0
    assert pace.is_failing
