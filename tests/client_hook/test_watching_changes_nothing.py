"""The first promise: a watched training is bit for bit the training that nobody watches."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.client_hook.little_training import LittleTraining, same

STEPS = 200


def _alone(**options: Any) -> LittleTraining:
    training = LittleTraining(**options)
    for _ in range(STEPS):
        training.gradients()
        torch.nn.utils.clip_grad_norm_(training.model.parameters(), 1.0)
        training.update()
    return training


def _watched(attach: dict[str, Any], **options: Any) -> LittleTraining:
    training = LittleTraining(**options)
    hook = training.attach(**attach)
    for step in hook.steps(STEPS):
        loss = training.gradients()
        hook.clip_grad_norm_(1.0)
        training.update()
        hook.observe(loss, tokens=64, data_index=step)
    hook.close()
    return training


def _other_random_states() -> tuple[str, str]:
    """Python's and numpy's, of which this training draws nothing."""
    return str(random.getstate()), str(np.random.get_state())


@pytest.mark.parametrize("synchronous", [True, False], ids=["synchronous", "in the background"])
@pytest.mark.parametrize("mode", ["observe", "advise", "act"])
def test_two_hundred_steps_are_bit_identical_with_and_without_the_hook(
    mode: str, synchronous: bool, tmp_path: Path
) -> None:
    alone, drawn = _alone(dropout=0.2), torch.get_rng_state()
    attach = {"mode": mode, "synchronous": synchronous, "checkpoints": tmp_path / "c", "checkpoint_every": 50}
    before = _other_random_states()
    watched = _watched(attach, dropout=0.2)
    assert watched.losses == alone.losses
    assert same(watched.weights(), alone.weights())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert _other_random_states() == before


def test_it_is_so_without_checkpoints_and_with_a_service_that_is_not_there() -> None:
    alone = _alone()
    watched = _watched({"mode": "observe", "server": "http://127.0.0.1:9", "synchronous": False})
    assert watched.losses == alone.losses
    assert same(watched.weights(), alone.weights())


def test_observe_lets_even_a_non_finite_update_through() -> None:
    training = LittleTraining()
    hook = training.attach(mode="observe")
    loss = training.gradients()
    first = next(training.model.parameters())
    assert first.grad is not None
    first.grad[0, 0] = float("nan")
    training.update()
    hook.observe(loss)
    hook.close()
    assert not torch.isfinite(first).all()


def test_the_hook_leaves_the_optimizer_without_hooks_when_it_is_closed() -> None:
    training = LittleTraining()
    hook = training.attach()
    hook.close()
    assert not training.optimizer._optimizer_step_pre_hooks
    assert not training.optimizer._optimizer_step_post_hooks
