from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy
import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

from client_hook.errors import AttachError
from client_hook.recovery.checkpoints import DirectoryCheckpoints
from client_hook.recovery.errors import CheckpointInvalid, RestoreFailed, StateNotStorable
from client_hook.recovery.learning_rate import RateMultiplier
from client_hook.recovery.snapshot import Snapshot, TrainingState
from client_hook.recovery.verification import verify
from tests.client_hook.recovery.trainings import OPTIMIZERS, SCHEDULERS, Rig, lbfgs_rig


def through_disk(folder: Path, snapshot: Snapshot) -> Snapshot:
    store, checkpoint_id = DirectoryCheckpoints(folder), uuid4()
    store.save(snapshot, checkpoint_id=checkpoint_id, attempt=0, step=1)
    assert [(news.kind, news.reason) for news in store.news()] == [("saved", "")]
    return store.load(checkpoint_id)


PAIRS = [(optimizer, "lambda") for optimizer in OPTIMIZERS] + [
    ("adamw" if scheduler == "one-cycle" else "sgd-momentum", scheduler) for scheduler in SCHEDULERS
]


@pytest.mark.parametrize(("optimizer", "scheduler"), PAIRS)
@pytest.mark.parametrize("place", ["memory", "disk"])
def test_the_steps_after_a_restore_are_bit_for_bit_those_after_the_capture(
    optimizer: str, scheduler: str, place: str, tmp_path: Path
) -> None:
    rig = Rig(optimizer, scheduler)
    rig.train(5)
    snapshot = rig.state.capture()
    first, rates = rig.train(6), rig.rates()
    if place == "disk":
        snapshot = through_disk(tmp_path, snapshot)
    for _ in range(2):  # a snapshot is only read: it can be restored again
        rig.state.restore(snapshot)
        assert verify(rig.state, snapshot)["differences"] == []
        assert rig.train(6) == first
        assert rig.rates() == rates


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_snapshot_fits_a_fresh_process(optimizer: str, tmp_path: Path) -> None:
    old = Rig(optimizer)
    old.train(5)
    snapshot = through_disk(tmp_path, old.state.capture())
    expected = old.train(4)
    new = Rig(optimizer, seed=1)
    new.state.restore(snapshot)
    assert verify(new.state, snapshot)["differences"] == []
    assert new.train(4) == expected


def test_lbfgs_comes_back_bit_for_bit(tmp_path: Path) -> None:
    model, optimizer, train = lbfgs_rig()
    state = TrainingState(model, optimizer)
    train(2)
    snapshot = through_disk(tmp_path, state.capture())
    first = train(3)
    state.restore(snapshot)
    assert verify(state, snapshot)["differences"] == []
    assert train(3) == first


def test_the_state_of_before_the_first_step_comes_back() -> None:
    rig = Rig()
    snapshot = rig.state.capture()
    first = rig.train(4)
    rig.state.restore(snapshot)
    assert len(rig.optimizer.state) == 0
    assert rig.train(4) == first


def test_a_grad_scaler_comes_back() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    state = TrainingState(model, optimizer, scaler=scaler)

    def train(factor: float) -> None:
        optimizer.zero_grad()
        scaler.scale(model(torch.ones(1, 3)).sum() * factor).backward()
        scaler.step(optimizer)
        scaler.update()

    train(1.0)
    snapshot = state.capture()
    kept = scaler.state_dict()
    train(float("inf"))
    assert scaler.get_scale() == 512.0
    state.restore(snapshot)
    assert scaler.state_dict() == kept
    train(1.0)
    assert scaler.get_scale() == 2048.0


def test_every_random_stream_comes_back_exactly() -> None:
    rig = Rig()
    random.gauss(0, 1)  # the second of a pair is kept for the next call, and is part of the state

    def drawn() -> tuple[float, float, float]:
        return random.gauss(0, 1), numpy.random.normal(), torch.randn(1).item()

    snapshot = rig.state.capture()
    expected = drawn()
    assert drawn() != expected
    for _ in range(2):
        rig.state.restore(snapshot)
        assert drawn() == expected


def test_a_new_attempt_draws_other_numbers_and_the_same_attempt_the_same() -> None:
    rig = Rig()
    snapshot = rig.state.capture()

    def drawn(reseed: int | None) -> tuple[float, float, float]:
        rig.state.restore(snapshot, reseed=reseed)
        return random.random(), numpy.random.random(), torch.rand(1).item()

    assert drawn(1) == drawn(1)
    assert len({drawn(None), drawn(1), drawn(2)}) == 3


def test_nobodys_reference_goes_stale() -> None:
    rig = Rig("adamw")
    rig.train(3)
    snapshot = rig.state.capture()
    groups, group = rig.optimizer.param_groups, rig.optimizer.param_groups[0]
    weight = rig.model.get_parameter("first.weight")
    moments, buffer = rig.optimizer.state[weight], rig.model.get_buffer("calls")
    moment = moments["exp_avg"]
    pointer = weight.data_ptr()
    rig.train(2)
    rig.state.restore(snapshot)
    assert rig.optimizer.param_groups is groups
    assert rig.optimizer.param_groups[0] is group
    assert rig.model.get_parameter("first.weight") is weight
    assert weight.data_ptr() == pointer
    assert rig.optimizer.state[weight] is moments
    assert moments["exp_avg"] is moment
    assert rig.model.get_buffer("calls") is buffer
    group["lr"] = 0.5  # and what the loop sets still counts
    assert rig.optimizer.param_groups[0]["lr"] == 0.5


def test_no_gradient_is_left_over() -> None:
    rig = Rig()
    snapshot = rig.state.capture()
    rig.train(1)
    assert any(weight.grad is not None for weight in rig.model.parameters())
    rig.state.restore(snapshot)
    assert all(weight.grad is None for weight in rig.model.parameters())


def test_what_the_training_does_afterwards_does_not_reach_into_the_snapshot() -> None:
    rig = Rig()
    rig.train(2)
    snapshot = rig.state.capture()
    untouched = copy.deepcopy(snapshot.payload())
    rig.train(3)
    rig.state.restore(snapshot)
    rig.train(3)  # the average keeps the tensors that it is given
    assert all_equal(untouched, snapshot.payload())


def all_equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(all_equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(all_equal, one, other))
    return bool(one == other)


def test_buffers_and_frozen_weights_and_the_users_objects_come_back() -> None:
    rig = Rig()
    rig.train(2)
    snapshot = rig.state.capture()
    kept = [each.clone() for each in (rig.model.frozen, rig.model.calls, rig.model.cache, rig.model.norm.running_mean)]
    best = rig.average.best
    rig.train(2)
    with torch.no_grad():
        rig.model.frozen.fill_(7.0)
    rig.average.best = -1.0
    rig.state.restore(snapshot)
    now = [rig.model.frozen, rig.model.calls, rig.model.cache, rig.model.norm.running_mean]
    assert all(torch.equal(then, each) for then, each in zip(kept, now))
    assert rig.average.best == best


def test_a_cache_that_has_grown_since_gets_its_former_shape() -> None:
    rig = Rig()
    snapshot = rig.state.capture()
    rig.model.cache = torch.ones(9)
    rig.state.restore(snapshot)
    assert rig.model.cache.tolist() == [0.0, 0.0, 0.0]


def test_buffers_that_cannot_be_written_are_replaced() -> None:
    model = nn.Linear(2, 2)
    model.register_buffer("expanded", torch.ones(1).expand(3))
    with torch.inference_mode():
        made = torch.ones(2)
    model.register_buffer("made_in_inference", made, persistent=False)
    state = TrainingState(model, SGD(model.parameters(), lr=0.1))
    snapshot = state.capture()
    model.expanded = torch.zeros(1).expand(3)
    state.restore(snapshot)
    assert verify(state, snapshot)["differences"] == []
    assert (model.expanded.tolist(), model.made_in_inference.tolist()) == ([1.0] * 3, [1.0] * 2)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight


def test_tied_weights_stay_tied_and_count_once() -> None:
    model = Tied()
    state = TrainingState(model, SGD(model.parameters(), lr=0.1))
    snapshot = state.capture()
    assert list(snapshot.model["parameters"]) == ["embedding.weight"]
    kept = model.head.weight.detach().clone()
    with torch.no_grad():
        model.head.weight.zero_()
    state.restore(snapshot)
    assert model.head.weight is model.embedding.weight
    assert torch.equal(model.head.weight, kept)


def test_state_that_came_after_the_capture_goes() -> None:
    rig = Rig("sgd-momentum")
    with torch.no_grad():
        rig.model.frozen.requires_grad_(False)
    rig.train(1)
    snapshot = rig.state.capture()
    rig.model.frozen.requires_grad_(True)  # thawed: its momentum is born
    rig.train(2)
    assert rig.model.frozen in rig.optimizer.state
    rig.state.restore(snapshot)
    assert rig.model.frozen not in rig.optimizer.state or not rig.optimizer.state[rig.model.frozen]


def test_a_group_that_was_added_later_does_not_fit_and_nothing_is_touched() -> None:
    rig = Rig()
    snapshot = rig.state.capture()
    rig.optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))]})
    before = rig.model.first.weight.detach().clone()
    with pytest.raises(CheckpointInvalid, match="3 parameter groups, the optimizer has 4"):
        rig.state.restore(snapshot)
    assert torch.equal(rig.model.first.weight, before)


def other_model(rig: Rig) -> Snapshot:
    model = nn.Linear(2, 2)
    return TrainingState(model, AdamW(model.parameters()), rig.scheduler, state={"ema": rig.average}).capture()


def other_optimizer(rig: Rig) -> Snapshot:
    return TrainingState(rig.model, Adam(rig.model.parameters()), rig.scheduler, state={"ema": rig.average}).capture()


def without_scheduler(rig: Rig) -> Snapshot:
    return TrainingState(rig.model, rig.optimizer, state={"ema": rig.average}).capture()


def without_state(rig: Rig) -> Snapshot:
    return TrainingState(rig.model, rig.optimizer, rig.scheduler).capture()


def poisoned(rig: Rig) -> Snapshot:
    snapshot = rig.state.capture()
    snapshot.model["parameters"]["first.weight"][0, 0] = float("nan")
    return snapshot


def poisoned_moment(rig: Rig) -> Snapshot:
    snapshot = rig.state.capture()
    snapshot.optimizers[0]["state"][0]["exp_avg"][0, 0] = float("inf")
    return snapshot


def of_another_shape(rig: Rig) -> Snapshot:
    snapshot = rig.state.capture()
    snapshot.model["parameters"]["first.weight"] = torch.zeros(3, 3)
    return snapshot


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (other_model, "parameter 'first.weight' is missing from it"),
        (other_optimizer, "taken with Adam, the training uses AdamW"),
        (without_scheduler, "schedulers"),
        (without_state, "it holds no state 'ema'"),
        (poisoned, "parameter 'first.weight' is not finite"),
        (poisoned_moment, "exp_avg is not finite"),
        (of_another_shape, r"shape \[3, 3\] in it, \[8, 6\] in the model"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_before_anything_is_touched(make: Any, complaint: str) -> None:
    rig = Rig()
    rig.train(2)
    snapshot = make(rig)
    before = rig.state.capture()
    with pytest.raises(CheckpointInvalid, match=complaint):
        rig.state.restore(snapshot)
    assert all_equal(before.payload(), rig.state.capture().payload())


def test_a_checkpoint_of_a_newer_trainguard_is_refused() -> None:
    payload = Rig().state.capture().payload()
    with pytest.raises(CheckpointInvalid, match="update trainguard"):
        Snapshot.from_payload({**payload, "format": 99})
    with pytest.raises(CheckpointInvalid, match="not written by trainguard"):
        Snapshot.from_payload({"model": {}})


def test_non_finite_values_that_were_meant_so_are_no_poison() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))
            self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))

    model = Masked()
    state = TrainingState(model, SGD(model.parameters(), lr=0.1))
    snapshot = state.capture()
    assert snapshot.is_finite()
    state.restore(snapshot)
    with torch.no_grad():
        model.weight[0] = float("nan")
    assert state.capture().find_non_finite() == ["parameter 'weight'"]


class Stubborn:
    """An object that fails to take its state back, a number of times."""

    def __init__(self, failures: int, error: type[BaseException] = RuntimeError) -> None:
        self.failures, self.error, self.value = failures, error, 1

    def state_dict(self) -> dict[str, int]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, int]) -> None:
        if self.failures:
            self.failures -= 1
            raise self.error("not now")
        self.value = state["value"]


def stubborn_state(failures: int, error: type[BaseException] = RuntimeError) -> tuple[nn.Module, TrainingState]:
    model = nn.Linear(2, 2)
    return model, TrainingState(model, SGD(model.parameters(), lr=0.1), state={"odd": Stubborn(failures, error)})


def test_a_restore_that_broke_half_way_is_completed() -> None:
    model, state = stubborn_state(1)
    snapshot = state.capture()
    with torch.no_grad():
        model.weight.zero_()
    state.restore(snapshot)
    assert verify(state, snapshot)["differences"] == []


def test_an_interrupt_in_the_middle_waits_until_the_model_is_whole() -> None:
    model, state = stubborn_state(1, KeyboardInterrupt)
    snapshot = state.capture()
    with torch.no_grad():
        model.weight.zero_()
    with pytest.raises(KeyboardInterrupt):
        state.restore(snapshot)
    assert verify(state, snapshot)["differences"] == []


def test_a_restore_that_cannot_be_completed_says_so() -> None:
    _, state = stubborn_state(2)
    with pytest.raises(RestoreFailed, match="neither the old nor the restored one"):
        state.restore(state.capture())


def test_a_scheduler_per_epoch_is_left_alone_when_told() -> None:
    rig = Rig("sgd-momentum", "exponential")
    rig.train(2)
    snapshot = rig.state.capture()
    rig.train(3)
    rates, steps = rig.rates(), rig.scheduler.last_epoch
    assert rig.state.scheduler_advance(snapshot) == [3]
    rig.state.restore(snapshot, scheduler=False)
    assert (rig.rates(), rig.scheduler.last_epoch) == (rates, steps)
    assert verify(rig.state, snapshot, scheduler=False)["differences"] == []
    assert verify(rig.state, snapshot)["differences"] != []


def test_the_multiplier_is_in_no_snapshot() -> None:
    rig = Rig("sgd")
    rate = RateMultiplier([rig.optimizer])
    rig.optimizer.register_step_pre_hook(lambda each, args, kwargs: rate.apply(each))
    rig.optimizer.register_step_post_hook(lambda each, args, kwargs: rate.take_off(each))
    snapshot = rig.state.capture()
    rate.scale = 0.5
    rig.train(1)
    rig.state.restore(snapshot)
    assert (rate.scale, rig.rates()) == (0.5, [0.05] * 3)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"model": "a model"}, "model is a str"),
        ({"optimizers": [object()]}, r"optimizers\[0\] is a object"),
        ({"schedulers": [object()]}, r"schedulers\[0\]"),
        ({"scaler": object()}, "scaler"),
        ({"state": {"ema": object()}}, r"state\['ema'\]"),
    ],
)
def test_what_could_not_be_restored_is_refused_by_name(arguments: dict[str, Any], named: str) -> None:
    model = nn.Linear(2, 2)
    whole: dict[str, Any] = {"model": model, "optimizers": [SGD(model.parameters(), lr=0.1)], **arguments}
    with pytest.raises(AttachError, match=named):
        TrainingState(**whole)


class Odd:
    def __init__(self, value: Any) -> None:
        self.value = value

    def state_dict(self) -> dict[str, Any]:
        return {"fine": 1, "deep": [0, {"here": self.value}]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value = state["deep"][1]["here"]


@pytest.mark.parametrize("value", [Path("/tmp"), lambda: None, (each for each in "ab")], ids=["path", "lambda", "iter"])
def test_a_rehearsal_names_the_part_that_no_checkpoint_could_give_back(value: Any) -> None:
    model = nn.Linear(2, 2)
    state = TrainingState(model, SGD(model.parameters(), lr=0.1), state={"odd": Odd(value)})
    with pytest.raises(StateNotStorable, match="odd|cannot be copied"):
        state.rehearse()


def test_numpy_values_in_somebodys_state_travel_through_a_file(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    odd = Odd({"scalar": numpy.float64(0.25), "array": numpy.arange(4.0).reshape(2, 2), "none": numpy.zeros(0)})
    state = TrainingState(model, SGD(model.parameters(), lr=0.1), state={"odd": odd})
    state.rehearse()
    snapshot = through_disk(tmp_path, state.capture())
    odd.value = None
    state.restore(snapshot)
    assert odd.value["scalar"] == numpy.float64(0.25)
    assert isinstance(odd.value["scalar"], numpy.float64)
    assert odd.value["array"].tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert odd.value["none"].shape == (0,)


def test_a_numpy_array_with_named_fields_is_named_as_the_offender() -> None:
    model = nn.Linear(2, 2)
    odd = Odd(numpy.zeros(2, dtype=[("loss", "f8"), ("step", "i8")]))
    state = TrainingState(model, SGD(model.parameters(), lr=0.1), state={"odd": odd})
    with pytest.raises(StateNotStorable, match=r"state\['odd'\]\['deep'\]\[1\]\['here'\]"):
        state.rehearse()


def test_capturing_changes_nothing() -> None:
    watched, plain = Rig(), Rig()
    torch.manual_seed(5)
    first = []
    for _ in range(5):
        watched.state.rehearse()
        first += watched.train(1)
    torch.manual_seed(5)
    assert plain.train(5) == first


def test_a_compiled_model_and_the_bare_one_share_their_checkpoints() -> None:
    rig = Rig()
    snapshot = rig.state.capture()

    class Wrapper(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self._orig_mod = inner

    TrainingState(Wrapper(rig.model), rig.optimizer, rig.scheduler, state={"ema": rig.average}).validate(snapshot)


def test_several_optimizers_come_back_each_with_its_own() -> None:
    torch.manual_seed(0)
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    optimizers = [AdamW(one.parameters(), lr=0.1), SGD(two.parameters(), lr=0.1, momentum=0.9)]
    state = TrainingState(nn.ModuleList([one, two]), optimizers)

    def train() -> list[float]:
        losses = []
        for _ in range(3):
            loss = two(one(torch.ones(1, 2))).square().sum()
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            losses.append(loss.item())
        return losses

    train()
    snapshot = state.capture()
    first = train()
    state.restore(snapshot)
    assert train() == first


class Lookahead(SGD):
    """Keeps things outside ``state``, and has its own way to write and read itself."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, lr=0.1, momentum=0.9)
        self.slow = [weight.detach().clone() for group in self.param_groups for weight in group["params"]]

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        super().step()
        weights = [weight for group in self.param_groups for weight in group["params"]]
        for slow, weight in zip(self.slow, weights):
            slow.lerp_(weight, 0.5)
            weight.copy_(slow)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "slow": self.slow}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.slow = state_dict.pop("slow")
        super().load_state_dict(state_dict)


def test_an_optimizer_with_its_own_way_to_load_comes_back_and_keeps_its_groups(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    optimizer = Lookahead(model.parameters())
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
    state = TrainingState(model, optimizer, scheduler)

    def train() -> list[float]:
        losses = []
        for _ in range(3):
            optimizer.zero_grad()
            loss = model(torch.randn(8, 4)).square().mean()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
        return losses

    train()
    group, momentum = optimizer.param_groups[0], optimizer.state[model.weight]["momentum_buffer"]
    snapshot = through_disk(tmp_path, state.capture())
    first = train()
    for _ in range(2):
        state.restore(snapshot)
        assert verify(state, snapshot)["differences"] == []
        assert optimizer.param_groups[0] is group
        assert optimizer.state[model.weight]["momentum_buffer"] is momentum
        assert train() == first
