from __future__ import annotations

import json
from random import Random

import pytest

from trainguard.detectors.baseline import Baseline


def fed(values: list[float]) -> Baseline:
    baseline = Baseline()
    for value in values:
        baseline.update(value)
    return baseline


def noisy(count: int, level: float = 2.0, noise: float = 0.1, seed: int = 0) -> list[float]:
    chance = Random(seed)
    return [chance.gauss(level, noise) for _ in range(count)]


def test_level_and_width_are_those_of_the_noise() -> None:
    baseline = fed(noisy(500))

    assert baseline.center == pytest.approx(2.0, abs=0.1)
    assert baseline.band == pytest.approx(0.1, rel=0.5)
    assert baseline.ready
    assert baseline.calm


def test_it_judges_nothing_before_there_are_enough_points() -> None:
    baseline = fed([2.0] * 5)
    baseline.update(1e6)

    assert not baseline.ready
    assert (baseline.z, baseline.calm) == (0.0, True)


def test_a_steady_fall_does_not_widen_it() -> None:
    flat = fed([2.0 + 0.01 * (index % 5) for index in range(200)])
    falling = fed([12.0 - 0.05 * index + 0.01 * (index % 5) for index in range(200)])

    assert falling.band < 3 * flat.band


def test_what_lies_far_above_is_held_apart_and_leaves_no_trace() -> None:
    values = noisy(100)
    baseline = fed(values)
    for spike in (50.0, 1e200, 50.0):
        baseline.update(spike)
    assert (baseline.held, baseline.calm) == (3, False)
    for value in noisy(10, seed=1):
        baseline.update(value)

    assert baseline.calm
    assert baseline.center == pytest.approx(2.0, abs=0.15)


def test_one_lucky_point_does_not_end_an_excursion() -> None:
    baseline = fed(noisy(100))
    for value in (50.0, 2.0, 50.0):
        baseline.update(value)

    assert (baseline.held, baseline.calm) == (2, False)


def test_held_points_that_go_on_become_the_new_level() -> None:
    baseline = fed(noisy(100))
    rebased = []
    for index, value in enumerate(noisy(60, level=4.0, seed=1)):
        baseline.update(value)
        if baseline.rebased:
            rebased.append(index)

    assert rebased == [31]
    assert baseline.former_center == pytest.approx(2.0, abs=0.15)
    assert baseline.center == pytest.approx(4.0, abs=0.15)
    assert baseline.calm


def test_a_lower_value_is_taken_at_once() -> None:
    baseline = fed([*noisy(100), *noisy(10, level=1.0, seed=1)])

    assert baseline.calm
    assert baseline.center == pytest.approx(1.0, abs=0.15)


def test_what_its_own_noise_throws_out_now_and_then_is_remembered() -> None:
    calm = fed(noisy(300))
    heavy = fed([value + 0.6 * (index % 40 == 0) for index, value in enumerate(noisy(300))])

    assert heavy.tail > 1.2 * calm.tail


def test_a_loud_stretch_is_remembered_in_a_quiet_one() -> None:
    baseline = fed([*noisy(200, noise=0.3), *noisy(200, noise=0.01)])

    assert baseline.long_band > 5 * baseline.band


def test_its_state_is_json_and_a_damaged_one_is_refused_by_the_fields_name() -> None:
    baseline = fed([*noisy(100), 50.0])
    state = json.loads(json.dumps(baseline.state_dict(), allow_nan=False))
    again = Baseline()
    again.load_state_dict(state)

    assert again.state_dict() == baseline.state_dict()
    for field in state:
        with pytest.raises(ValueError, match=repr(field)):
            Baseline().load_state_dict({**state, field: "rubbish"})
