from __future__ import annotations

import random
from collections import Counter

from client_hook.delivery.pace import Pace


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_a_receipt_ends_the_growing_waits() -> None:
    pace = Pace(Clock(), chance=lambda: 1.0)
    for _ in range(5):
        pace.failed()
    pace.succeeded(flush_seconds=2.0)
    assert not pace.is_failing
    pace.failed()
    assert pace.seconds_until_due() == Pace.FIRST_RETRY_SECONDS


def test_runs_that_lost_the_service_together_come_back_one_by_one() -> None:
    random.seed(5)
    before = random.getstate()
    paces = [Pace(Clock()) for _ in range(1_000)]
    for _ in range(6):
        for pace in paces:
            pace.failed()
    waits = sorted(pace.seconds_until_due() for pace in paces)
    assert Pace.LONGEST_RETRY_SECONDS / 2 <= waits[0] < waits[-1] <= Pace.LONGEST_RETRY_SECONDS
    per_second = Counter(int(wait) for wait in waits)
    assert max(per_second.values()) < 250
    assert random.getstate() == before, "Python's own stream is the training's"


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
