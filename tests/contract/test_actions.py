"""What every member of ACTIONS must do, alone and without being told who it is.

A new action joins by its line in the table, and by an order in ORDERS; where it can be refused for what the
training lacks, by a line in LACKING.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import torch

import client_hook
from client_hook.recovery.actions import ACTIONS
from client_hook.recovery.checkpoints import MemoryCheckpoints
from client_hook.recovery.training import Training
from tests.client_hook.little_training import LittleTraining, same
from trainguard import wire
from trainguard.wire import (
    Halt,
    LoosenClipping,
    LowerLearningRate,
    Pause,
    RerunTest,
    ResetMoments,
    Resume,
    RewarmUp,
    Rollback,
    SaveNow,
    ScaleLearningRate,
    SetLossScale,
    SkipBatch,
    SkipDataWindow,
    SkipUpdate,
    TightenClipping,
    WireModel,
)

CHECKPOINT = UUID(int=0)
"""Stands for the confirmed checkpoint of the training at hand."""

ORDERS: dict[str, WireModel] = {
    "rollback": Rollback(checkpoint_id=CHECKPOINT),
    "lower_learning_rate": LowerLearningRate(factor=0.5),
    "scale_learning_rate": ScaleLearningRate(factor=2.0),
    "rewarm_up": RewarmUp(steps=5),
    "reset_moments": ResetMoments(),
    "skip_data_window": SkipDataWindow(batches=4),
    "skip_batch": SkipBatch(),
    "skip_update": SkipUpdate(updates=2),
    "tighten_clipping": TightenClipping(max_norm=0.5),
    "loosen_clipping": LoosenClipping(),
    "set_loss_scale": SetLossScale(scale=1024.0),
    "pause": Pause(seconds=60),
    "resume": Resume(),
    "save_now": SaveNow(),
    "rerun_test": RerunTest(times=3),
    "halt": Halt(),
}

LACKING: dict[str, str] = {
    "rollback": "keeps no checkpoints",
    "save_now": "keeps no checkpoints",
    "rerun_test": "has given no function",
    "skip_batch": r"hook\.batches",
    "set_loss_scale": "no scaler",
    "pause": "no server",
    "resume": "not paused",
}
"""Actions that a bare training (no checkpoints, scaler, server, ``hook.batches`` or function to make a batch again)
cannot carry out, and why."""

names = pytest.mark.parametrize("name", sorted(ACTIONS))


def trained(**options: Any) -> tuple[LittleTraining, client_hook.TrainingHook]:
    """Thirty steps of a training; the attached hook."""
    little = LittleTraining()
    hook = little.attach(**options)
    for _ in range(30):
        loss = little.gradients()
        little.update()
        hook.observe(loss)
    return little, hook


@pytest.fixture
def whole() -> Iterator[tuple[LittleTraining, Training]]:
    """A training that has all that any action may ask for."""
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    little, hook = trained(mode="act", checkpoints=MemoryCheckpoints(), checkpoint_every=10, scaler=scaler)
    training = hook._training
    list(hook.batches([1, 2]))
    training.pause.can_be_ended = True
    batch = little.batch()
    hook.rerun_with(lambda: little.gradients(batch))
    yield little, training
    hook.close()


@pytest.fixture
def bare() -> Iterator[tuple[LittleTraining, Training]]:
    little, hook = trained(mode="advise")
    yield little, hook._training
    hook.close()


def order_for(name: str, training: Training) -> WireModel:
    order = ORDERS[name]
    if isinstance(order, Rollback):
        assert training.keeper is not None
        confirmed = [one for one in training.keeper.reports() if one.state == "confirmed"]
        return Rollback(checkpoint_id=confirmed[-1].checkpoint_id)
    if isinstance(order, Resume):
        training.pause.begin(60)
    return order


def test_the_table_holds_what_the_wire_knows_and_every_name_is_right() -> None:
    assert set(ACTIONS) == set(wire.ACTIONS) == set(ORDERS)
    assert all(action.name == name for name, action in ACTIONS.items())


@names
def test_an_order_travels_and_comes_back_as_itself(name: str) -> None:
    command = wire.Command.model_validate(
        {
            "command_id": str(UUID(int=1)),
            "attempt": 0,
            "revision": 0,
            "orders": [json.loads(ORDERS[name].model_dump_json())],
            "issued_at": 0,
            "expires_at": 1,
        }
    )
    assert command.orders == (ORDERS[name],)


@names
def test_the_check_touches_nothing(name: str, whole: tuple[LittleTraining, Training]) -> None:
    little, training = whole
    order = order_for(name, training)
    before = (little.weights(), little.optimizer.state_dict(), training.rate.scale, vars(training.position).copy())
    assert ACTIONS[name]().check(order, training) is None
    assert same(before[0], little.weights())
    assert str(before[1]) == str(little.optimizer.state_dict())
    assert before[2:] == (training.rate.scale, vars(training.position))


@names
def test_it_applies_and_says_what_changed_in_plain_json(name: str, whole: tuple[LittleTraining, Training]) -> None:
    _, training = whole
    action = ACTIONS[name]()
    order = order_for(name, training)
    assert action.check(order, training) is None
    applied = action.apply(order, training)
    assert applied.sentence
    assert not applied.sentence.endswith("."), "the boundary ends the sentence"
    assert applied.changes, "every action reads back what it changed"
    assert json.loads(json.dumps(applied.changes, allow_nan=False)) == applied.changes


@names
def test_a_training_that_lacks_what_it_needs_refuses_with_a_sentence(
    name: str, bare: tuple[LittleTraining, Training]
) -> None:
    little, training = bare
    weights = little.weights()
    objection = ACTIONS[name]().check(ORDERS[name], training)
    if name not in LACKING:
        assert objection is None
        return
    assert objection is not None
    assert LACKING[name].replace("\\", "") in objection
    assert same(weights, little.weights())
