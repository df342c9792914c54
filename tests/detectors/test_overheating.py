from __future__ import annotations

import json
from math import inf, nan
from random import Random
from typing import Any

import pytest

from tests.detectors.streams import changed, feed, feed_panel, moved, observation, scaled
from trainguard.detectors import Panel
from trainguard.detectors.overheating import Overheating
from trainguard.wire import Observation

FALL = 60
"""Steps in which the loss comes down from 4 to 2.5."""


def training(
    steps: int = 200,
    *,
    onset: int | None = None,
    rate_growth: float = 1.02,
    norm_growth: float = 1.01,
    loss_growth: float = 1.0,
    warm_up: int = 40,
    seed: int = 0,
) -> list[Observation]:
    """A training that has learnt most after 60 steps; from ``onset`` on rate, norm and loss grow by factors a step."""
    chance = Random(seed)
    stream = []
    for step in range(steps):
        hot = 0 if onset is None else max(0, step - onset)
        stream.append(
            observation(
                step,
                loss=(2.5 + 1.5 * max(0.0, 1 - step / FALL)) * loss_growth**hot * (1 + chance.gauss(0, 0.01)),
                param_norm=(10.0 + 0.01 * step) * norm_growth**hot,
                learning_rate=1e-3 * min(1.0, (step + 1) / warm_up) * (1 - 0.4 * step / steps) * rate_growth**hot,
            )
        )
    return stream


@pytest.mark.parametrize("seed", range(4))
def test_a_rate_that_grows_swells_the_parameters_and_the_loss_stands(seed: int) -> None:
    [finding] = feed(Overheating(), training(onset=100, seed=seed))

    assert finding.severity == "critical"
    assert 135 <= finding.step <= 160
    assert FALL < finding.onset_step <= 127, "where the loss was lowest, before the norm had grown much"
    assert finding.evidence["learning_rate_good"] == pytest.approx(0.8e-3, rel=0.03), "what it was before it grew"
    assert finding.evidence["loss_before"] == pytest.approx(2.5, rel=0.02)


def test_a_peak_that_is_too_high_is_told_with_a_tenth_of_the_rate_at_which_the_loss_was_lowest() -> None:
    stream = training(onset=30, rate_growth=1.0, norm_growth=1.03, loss_growth=1.02, warm_up=60)

    [finding] = feed(Overheating(), stream)

    assert finding.step <= 80
    assert 0.3e-4 < finding.evidence["learning_rate_good"] < 1e-4
    assert finding.evidence["learning_rate_at"] > 1.5 * finding.evidence["learning_rate_before"]


@pytest.mark.parametrize(
    "changes",
    [{"norm_growth": 1.0}, {"rate_growth": 1.0}, {"loss_growth": 0.997}],
    ids=["no_swelling", "no_rise_of_the_rate", "the_loss_falls"],
)
def test_all_three_are_needed(changes: dict[str, Any]) -> None:
    assert not feed(Overheating(), training(onset=100, **changes))


@pytest.mark.parametrize("phase", range(8))
def test_a_norm_that_jumps_while_the_rate_warms_up_is_no_heat(phase: int) -> None:
    stream, hit = training(onset=None, warm_up=150), 100 + phase

    assert not feed(Overheating(), scaled(stream, hit, loss=10_000.0, param_norm=200.0))


@pytest.mark.parametrize("phase", range(8))
def test_a_norm_that_jumps_with_the_rate_is_heat(phase: int) -> None:
    stream, hot = training(onset=None), 100 + phase

    assert feed(Overheating(), scaled(stream, hot, learning_rate=10.0, param_norm=2.0))


def test_a_loss_that_never_moved_is_no_case_for_it() -> None:
    stream = [observation(one.step, **{**one.signals, "loss": 2.3}) for one in training(onset=100)]

    assert not feed(Overheating(), stream)


def test_a_healthy_training_is_left_alone() -> None:
    assert not feed(Overheating(), training(600))


def test_a_norm_that_creeps_up_over_a_long_run_is_how_runs_are() -> None:
    assert not feed(Overheating(), training(2_000, onset=100, rate_growth=1.001, norm_growth=1.002))


@pytest.mark.parametrize("value", [nan, inf, -1.0, 0.0])
def test_norms_and_rates_that_are_none_leave_no_trace(value: float) -> None:
    stream = training(onset=100)
    for index in range(80, 90):
        stream = changed(stream, index, param_norm=value)
        stream = changed(stream, index + 10, learning_rate=nan)

    assert feed(Overheating(), stream)


def test_after_a_rollback_the_abandoned_branch_counts_no_more() -> None:
    detector = Overheating()
    feed(detector, training(onset=100)[:170])

    assert not feed(detector, moved(training(300)[100:], first_step=100, attempt=1))


def test_its_memory_is_small() -> None:
    detector = Overheating()
    feed(detector, training(3_000))

    assert len(json.dumps(detector.state_dict()["memory"])) < 4_000


def test_in_the_panel_what_it_knows_stands_beside_what_the_panel_knows() -> None:
    [finding] = [one for one in feed_panel(Panel(), training(onset=100)) if one.detector == "overheating"]

    assert {"loss_band", "learning_rate_good", "learning_rate_before", "param_norm_at"} <= finding.evidence.keys()
