"""The published rules, as they are described; and each of them on a real training with a NaN in it."""

from __future__ import annotations

import dataclasses
import math
from collections import deque

import pytest
import torch

from benchmarks.recovery import faults
from benchmarks.recovery.faults import Fault
from benchmarks.recovery.strategies.clipping import ClipAtOne, ZClip
from benchmarks.recovery.strategies.reload import ReloadOnNaN
from benchmarks.recovery.strategies.skip_step import SkipStep
from benchmarks.recovery.training import Record, train
from benchmarks.recovery.workloads import WORKLOADS

STEPS, BAD = 140, 110


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WORKLOADS, "mlp", dataclasses.replace(WORKLOADS["mlp"], steps=STEPS))


def _with_nan(strategy: str) -> Record:
    return train("mlp", seed=1, strategy=strategy, fault=faults.nan_batch(BAD), in_memory=True)


def test_zclip_leaves_the_first_25_norms_alone_and_pulls_an_outlier_towards_the_mean() -> None:
    near, far = (ZClip(WORKLOADS["mlp"].build(1), STEPS, None) for _ in range(2))
    for index in range(25):
        norm = 0.9 + 0.2 * (index % 2)
        assert near.limit(norm) == far.limit(norm) == norm
    allowed = near.limit(50.0)
    assert 0.98 < allowed < 1.2
    assert 0.98 < far.limit(500.0) < allowed, "the further out, the nearer to the mean"


def test_skip_step_waits_for_half_a_window_and_skips_nan_as_well() -> None:
    rule = SkipStep(WORKLOADS["mlp"].build(1), STEPS, None)
    past = deque[float](maxlen=128)
    assert all(rule.is_inside(past, 1.0 + 0.1 * (index % 2)) for index in range(63))
    assert rule.is_inside(past, 99.0), "63 values are too few to judge"
    past = deque((1.0 + 0.1 * (index % 2) for index in range(64)), maxlen=128)
    assert rule.is_inside(past, 1.05)
    assert not rule.is_inside(past, 2.0)
    assert not rule.is_inside(past, math.nan)
    assert not rule.is_inside(past, 1.05), "the NaN has entered the window, as it does in the rule"


def test_clip_at_one() -> None:
    training = WORKLOADS["mlp"].build(1)
    for parameter in training.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    assert ClipAtOne(training, STEPS, None).may_update(torch.tensor(1.0))
    norm = torch.nn.utils.get_total_norm([p.grad for p in training.parameters() if p.grad is not None])
    assert norm.item() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("strategy", ["none", "clip at 1.0", "ZClip"])
def test_a_nan_reaches_the_weights_where_nobody_looks(strategy: str) -> None:
    record = _with_nan(strategy)
    assert math.isnan(record.final)
    assert record.nonfinite_updates == STEPS - BAD


def test_reload_goes_back_to_the_last_checkpoint_and_on_in_the_data() -> None:
    record = _with_nan("reload on NaN")
    [deed] = record.account.deeds
    assert (deed.step, deed.next_step) == (BAD, 100)
    assert len(record.steps) == STEPS + 11
    assert record.nonfinite_updates == 1
    assert math.isfinite(record.final)


def test_reload_gives_up_where_it_goes_round_in_circles() -> None:
    record = train("mlp", seed=1, strategy="reload on NaN", fault=faults.never_finite())
    assert record.account.gave_up
    assert record.final == math.inf
    assert len(record.steps) == ReloadOnNaN.at_most + 1


def test_ours_lets_no_bad_update_through() -> None:
    record = _with_nan("trainguard")
    assert record.nonfinite_updates == 0
    assert math.isfinite(record.final)
    assert not record.account.gave_up


def test_the_same_seed_is_the_same_training_and_watching_changes_nothing() -> None:
    bare, again, watched = (
        train("mlp", seed=2, strategy=strategy, in_memory=True) for strategy in ("none", "none", "trainguard")
    )
    assert bare.checksum == again.checksum == watched.checksum
    assert bare.checksum != train("mlp", seed=2, order=3).checksum


def test_a_fault_in_the_schedule_reaches_the_rate() -> None:
    seen: list[float] = []
    fault = Fault(
        rate_factor=lambda step: 10.0 if step >= 50 else 1.0,
        strike=lambda made, step, training: seen.append(training.scheduled_rate),
    )
    train("mlp", seed=1, fault=fault)
    assert seen[50] > 9 * seen[49]
