from __future__ import annotations

from random import Random

from tests.detectors.streams import alarms, feed, of_losses
from trainguard.detectors import build_detector


def said(losses: list[float]) -> list[int]:
    return [one.onset_step for one in alarms(feed(build_detector("oscillation"), of_losses(losses)))]


def test_batches_that_come_in_a_fixed_order_swing_as_they_always_did() -> None:
    assert not said([2.0 + 0.4 * (1, 0, -1, 0)[step % 4] for step in range(1000)])


def test_noise_that_becomes_loud_is_no_swing() -> None:
    chance = Random(0)

    assert not said([2.0 + chance.gauss(0, 0.02 if step < 400 else 0.4) for step in range(800)])


def test_a_swing_of_any_period_is_found_with_its_onset() -> None:
    for half in (1, 3, 8):
        chance = Random(half)
        losses = [
            2.0 + chance.gauss(0, 0.02) + (0.5 * (-1) ** (step // half) if step >= 400 else 0.0) for step in range(800)
        ]

        [onset] = said(losses)
        assert abs(onset - 400) <= 16
