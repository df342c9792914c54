from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from torch import nn

from client_hook.recovery.snapshot import Snapshot, TrainingState
from client_hook.recovery.verification import checksum, verify
from tests.client_hook.recovery.trainings import Rig


def restored() -> tuple[Rig, Snapshot]:
    rig = Rig("sgd-momentum", "exponential")
    rig.train(2)
    snapshot = rig.state.capture()
    rig.train(3)
    rig.state.restore(snapshot)
    return rig, snapshot


def test_a_whole_restore_has_no_differences_and_reads_back_in_plain_values() -> None:
    rig, snapshot = restored()
    proof = verify(rig.state, snapshot)
    assert proof["differences"] == []
    assert proof["checksum_matches"]
    assert proof["learning_rates"] == [rig.rates()]
    assert proof["scheduler_steps"] == [2]
    assert json.loads(json.dumps(proof)) == proof


def forget_scheduler(rig: Rig) -> None:
    rig.scheduler.step()


def forget_rate(rig: Rig) -> None:
    rig.optimizer.param_groups[1]["lr"] = 0.5


def forget_weight(rig: Rig) -> None:
    with torch.no_grad():
        rig.model.get_parameter("last.bias")[0] += 1e-7


def forget_buffer(rig: Rig) -> None:
    rig.model.get_buffer("calls").add_(1)


def leave_gradient(rig: Rig) -> None:
    weight = rig.model.get_parameter("last.bias")
    weight.grad = torch.zeros_like(weight)


@pytest.mark.parametrize(
    ("forget", "said"),
    [
        (forget_scheduler, "the schedulers stand at [3], in the checkpoint at [2]"),
        (forget_rate, "the learning rates are"),
        (forget_weight, "the parameters are not those of the checkpoint"),
        (forget_buffer, "buffer 'calls' is not that of the checkpoint"),
        (leave_gradient, "gradients are left over"),
    ],
)
def test_what_was_forgotten_is_said(forget: Callable[[Rig], None], said: str) -> None:
    rig, snapshot = restored()
    forget(rig)
    assert any(said in difference for difference in verify(rig.state, snapshot)["differences"])


def test_a_scheduler_that_ignores_what_it_is_given_is_found_out() -> None:
    rig = Rig("sgd-momentum", "exponential")
    snapshot = rig.state.capture()
    rig.train(3)
    rig.scheduler.load_state_dict = lambda state: None
    rig.state.restore(snapshot)
    assert verify(rig.state, snapshot)["differences"] == ["the schedulers stand at [3], in the checkpoint at [0]"]


def test_an_optimizer_that_made_other_steps_is_found_out() -> None:
    rig = Rig("adamw")
    rig.train(2)
    snapshot = rig.state.capture()
    for values in rig.optimizer.state.values():
        values["step"] += 1
    assert "optimizers[0] has made 3 steps, in the checkpoint 2" in verify(rig.state, snapshot)["differences"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8])
def test_a_checksum_sees_every_bit_of_every_type(dtype: torch.dtype) -> None:
    model = nn.Module()
    model.weight = nn.Parameter(torch.ones(5, dtype=dtype), requires_grad=False)
    before = checksum(model)
    assert (len(before), checksum(model)) == (64, before)
    model.weight.view(torch.uint8)[-1] ^= 1
    assert checksum(model) != before


def test_a_checksum_does_not_depend_on_how_the_bytes_lie_in_memory() -> None:
    model = nn.Module()
    model.weight = nn.Parameter(torch.arange(6.0).reshape(2, 3))
    twin = nn.Module()
    twin.weight = nn.Parameter(torch.arange(6.0).reshape(2, 3).t().contiguous().t())
    assert checksum(model) == checksum(twin)
    twin.weight = nn.Parameter(torch.arange(6.0).reshape(3, 2))
    assert checksum(model) != checksum(twin)


def test_an_empty_tensor_has_a_checksum() -> None:
    model = nn.Module()
    model.weight = nn.Parameter(torch.zeros(0))
    assert TrainingState(model, torch.optim.SGD([model.weight], lr=0.1)).capture().is_finite()
    assert len(checksum(model)) == 64
