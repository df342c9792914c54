from __future__ import annotations

import pytest

from tests.detectors.streams import changed, feed, healthy, scaled
from trainguard.detectors.loss_spike import LossSpike


def test_a_spike_is_told_once_at_its_first_point() -> None:
    stream = scaled(healthy(), 300, 306, loss=4.0)

    [finding] = feed(LossSpike(), stream)

    assert (finding.step, finding.onset_step, finding.severity) == (300, 300, "warning")
    assert finding.value == stream[300].signals["loss"]
    assert finding.evidence["loss_before"] == pytest.approx(1.5, abs=0.1)
    assert finding.evidence["z"] > 20


def test_two_spikes_apart_are_told_twice() -> None:
    stream = scaled(scaled(healthy(), 200, 203, loss=4.0), 300, 303, loss=4.0)

    assert [finding.step for finding in feed(LossSpike(), stream)] == [200, 300]


def test_a_moderate_rise_needs_a_second_point_unless_the_gradient_confirms_it() -> None:
    once = scaled(healthy(), 300, 301, loss=1.25)
    twice = scaled(healthy(), 300, 302, loss=1.25)
    confirmed = scaled(once, 300, 301, grad_norm=30.0)

    assert not feed(LossSpike(), once)
    assert [finding.step for finding in feed(LossSpike(), twice)] == [301]
    assert [finding.step for finding in feed(LossSpike(), confirmed)] == [300]


def test_noise_that_throws_points_out_now_and_then_raises_the_bar() -> None:
    stream = healthy(600)
    for index in range(50, 600, 25):
        stream = scaled(stream, index, index + 1, loss=1.2)

    assert not [finding for finding in feed(LossSpike(), stream) if finding.step > 150]


def test_the_tiny_noise_of_a_smooth_curve_is_no_spike() -> None:
    stream = changed(healthy(noise=1e-6), 300, loss=healthy(noise=0.0)[300].signals["loss"] * 1.03)

    assert not feed(LossSpike(), stream)


def test_a_spike_within_the_first_hundred_steps_is_seen() -> None:
    assert [finding.step for finding in feed(LossSpike(), scaled(healthy(120), 60, 63, loss=3.0))] == [60]


def test_low_sensitivity_asks_for_more() -> None:
    stream = scaled(healthy(), 300, 303, loss=1.11)

    assert feed(LossSpike(), stream)
    assert not feed(LossSpike(sensitivity="low"), stream)


def test_three_points_in_a_row_are_together_what_none_of_them_is_alone() -> None:
    stream = healthy(noise=0.03, seed=4)
    for since, bands in enumerate((6.0, 5.0, 4.5, 4.0, 2.0)):
        stream = scaled(stream, 300 + since, 301 + since, loss=1 + 0.03 * bands)

    found = feed(LossSpike(), stream)

    assert [302 <= one.step <= 304 and one.onset_step >= 299 for one in found] == [True]
