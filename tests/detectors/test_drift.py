from __future__ import annotations

import json
from random import Random

import pytest

from trainguard.detectors.drift import BlockTrend


def fed(trend: BlockTrend, values: list[float]) -> BlockTrend:
    for step, value in enumerate(values):
        trend.add(step, value)
    return trend


def test_a_slow_rise_under_noise_is_seen_as_a_trend_from_where_it_began() -> None:
    chance = Random(0)
    values = [chance.gauss(3.0 + 0.004 * max(0, step - 300), 0.1) for step in range(600)]
    trend = fed(BlockTrend(), values)

    assert trend.rise == pytest.approx(1.2, abs=0.15)
    assert trend.trend > 0.9
    assert abs(trend.best_step - 300) < 64


def test_flat_noise_has_no_trend() -> None:
    chance = Random(0)
    trend = fed(BlockTrend(), [chance.gauss(3.0, 0.1) for _ in range(600)])

    assert abs(trend.rise) < 6 * trend.scatter


def test_single_spikes_leave_no_trace() -> None:
    values = [2.0 + 0.1 * (step % 3) for step in range(400)]
    spoilt = [1e9 if step % 50 == 0 else value for step, value in enumerate(values)]

    assert fed(BlockTrend(), spoilt).rise < 0.1


def test_there_is_no_measure_before_there_are_enough_blocks() -> None:
    trend = BlockTrend(block=4)

    assert not any(trend.add(step, 1.0) for step in range(31))
    assert trend.add(31, 1.0)


def test_its_state_is_json_and_is_taken_back() -> None:
    trend = fed(BlockTrend(), [float(step % 7) for step in range(333)])
    again = BlockTrend()
    again.load_state_dict(json.loads(json.dumps(trend.state_dict())))

    assert again.state_dict() == trend.state_dict()
    assert [again.add(step, 1.0) for step in range(8)] == [trend.add(step, 1.0) for step in range(8)]
    assert (again.rise, again.trend, again.best_step) == (trend.rise, trend.trend, trend.best_step)
