from __future__ import annotations

from tests.detectors.streams import alarms, feed, observation
from trainguard.detectors import build_detector
from trainguard.wire import Observation


def timed(times: list[float], evaluated_every: int = 0) -> list[Observation]:
    """Steps of ``times`` seconds; the step after an evaluation carries its result and its pause."""
    return [
        observation(step, step_seconds=seconds, val_loss=1.0)
        if evaluated_every and step % evaluated_every == 0
        else observation(step, step_seconds=seconds)
        for step, seconds in enumerate(times)
    ]


def said(stream: list[Observation]) -> list[tuple[int, int]]:
    return [(one.step, one.onset_step) for one in alarms(feed(build_detector("slow_step"), stream))]


def test_the_pause_of_an_evaluation_is_no_slow_step() -> None:
    paused = [60.0 if step % 3 == 0 else 0.5 for step in range(600)]

    assert not said(timed(paused, evaluated_every=3))


def test_one_long_step_now_and_then_is_a_checkpoint_and_no_trouble() -> None:
    assert not said(timed([90.0 if step % 40 == 39 else 0.5 for step in range(600)]))


def test_a_minute_of_slow_steps_is_told_once_and_in_the_end_they_are_usual() -> None:
    times = [0.5] * 100 + [5.0] * 600

    assert said(timed(times)) == [(115, 100)]
    assert said(timed([*times, *[0.5] * 10, *[5.0] * 100])) == [(115, 100)]


def test_steps_that_nobody_waits_for_are_not_timed() -> None:
    assert not said(timed([0.001] * 100 + [0.05] * 2000))
