from __future__ import annotations

import math
import random

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR

from client_hook.recovery.learning_rate import RateMultiplier


def hooked(*optimizers: Optimizer) -> RateMultiplier:
    rate = RateMultiplier(optimizers)
    for optimizer in optimizers:
        optimizer.register_step_pre_hook(lambda each, args, kwargs: rate.apply(each))
        optimizer.register_step_post_hook(lambda each, args, kwargs: rate.take_off(each))
    return rate


def parameter(value: float = 1.0, gradient: float = 1.0) -> nn.Parameter:
    weight = nn.Parameter(torch.tensor([value], dtype=torch.float64))
    weight.grad = torch.tensor([gradient], dtype=torch.float64)
    return weight


def moved(weight: nn.Parameter, optimizer: Optimizer) -> float:
    """How far one step of plain SGD moves a weight with gradient 1: the rate that was in force."""
    before = weight.item()
    optimizer.step()
    return before - weight.item()


def test_a_scale_of_one_touches_nothing() -> None:
    rates = [torch.tensor(0.1), 0.2, 1]
    optimizer = SGD([{"params": [parameter()], "lr": rate} for rate in rates])
    hooked(optimizer)
    version = rates[0]._version  # type: ignore[union-attr]
    optimizer.step()
    assert all(group["lr"] is rate for group, rate in zip(optimizer.param_groups, rates))
    assert rates[0]._version == version  # type: ignore[union-attr]


def test_the_step_sees_the_lowered_rate_and_the_loop_sees_its_own() -> None:
    weight = parameter()
    optimizer = SGD([weight], lr=0.1)
    hooked(optimizer).scale = 0.25
    assert moved(weight, optimizer) == pytest.approx(0.025)
    assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("found", [0.1, 1 / 3, 1e-45, 7e300, 1, 0.0, 0], ids=str)
@pytest.mark.parametrize("scale", [0.1, 1 / 3, 1e-12])
def test_the_rate_comes_back_to_the_last_bit(found: float, scale: float) -> None:
    optimizer = SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    optimizer.param_groups[0]["lr"] = found
    rate = hooked(optimizer)
    rate.scale = scale
    for _ in range(3):
        optimizer.step()
    assert optimizer.param_groups[0]["lr"] is found


def test_a_tensor_rate_is_changed_in_place_and_only_once_where_groups_share_it() -> None:
    shared = torch.tensor(1 / 3, dtype=torch.float64)
    weights = [parameter(), parameter()]
    optimizer = SGD([{"params": [weight], "lr": shared} for weight in weights])
    found = shared.clone()
    hooked(optimizer).scale = 0.3
    assert moved(weights[0], optimizer) == pytest.approx(0.1)
    assert 1 - weights[1].item() == pytest.approx(0.1)
    assert all(group["lr"] is shared for group in optimizer.param_groups)
    assert torch.equal(shared, found)


def test_no_schedule_undoes_it() -> None:
    weight = parameter()
    optimizer = SGD([weight], lr=1.0)
    scheduler = ExponentialLR(optimizer, gamma=0.5)
    hooked(optimizer).scale = 0.1
    for scheduled in (1.0, 0.5, 0.25):
        assert moved(weight, optimizer) == pytest.approx(0.1 * scheduled)
        scheduler.step()
    assert scheduler.get_last_lr() == [0.125]


def test_a_loop_that_sets_its_rate_itself_does_not_undo_it() -> None:
    weight = parameter()
    optimizer = SGD([weight], lr=9.0)
    hooked(optimizer).scale = 0.5
    for step in range(3):
        optimizer.param_groups[0]["lr"] = 0.1 * (step + 1)
        assert moved(weight, optimizer) == pytest.approx(0.05 * (step + 1))


def test_groups_without_a_rate_are_left_alone() -> None:
    class Rateless(Optimizer):
        def __init__(self, weight: nn.Parameter) -> None:
            super().__init__([weight], {})

        def step(self, closure: object = None) -> None:  # type: ignore[override]
            pass

    optimizer = Rateless(parameter())
    hooked(optimizer).scale = 0.5
    optimizer.step()
    assert "lr" not in optimizer.param_groups[0]


class Failing(SGD):
    fails = True

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        if self.fails:
            raise RuntimeError("out of memory")
        super().step()


@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_what_a_failed_step_left_over_is_taken_off_before_the_next(kind: type) -> None:
    weight = parameter()
    optimizer = Failing([weight], lr=kind(0.1))
    hooked(optimizer).scale = 0.5
    for _ in range(3):
        with pytest.raises(RuntimeError):
            optimizer.step()
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.05)
    optimizer.fails = False
    assert moved(weight, optimizer) == pytest.approx(0.05)
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.1)


@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_a_rate_set_after_a_failed_step_is_the_users(kind: type) -> None:
    weight = parameter()
    optimizer = Failing([weight], lr=kind(0.1))
    rate = hooked(optimizer)
    rate.scale = 0.5
    with pytest.raises(RuntimeError):
        optimizer.step()
    optimizer.param_groups[0]["lr"] = kind(0.3)
    rate.heal()
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.3)
    optimizer.fails = False
    assert moved(weight, optimizer) == pytest.approx(0.15)


def test_healing_takes_off_what_was_left_and_is_otherwise_nothing() -> None:
    optimizer = Failing([parameter()], lr=0.1)
    rate = hooked(optimizer)
    rate.heal()
    rate.scale = 0.5
    with pytest.raises(RuntimeError):
        optimizer.step()
    rate.heal()
    rate.heal()
    assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("seed", range(20))
def test_where_it_is_idle_there_is_nothing_to_multiply_to_advance_or_to_heal(seed: int) -> None:
    chance = random.Random(seed)
    optimizers = [SGD([parameter()], lr=0.1), SGD([parameter()], lr=torch.tensor(0.2), foreach=False)]
    rate = RateMultiplier(optimizers)
    was_busy = False
    for _ in range(200):
        one = chance.choice(optimizers)
        chance.choice(
            [
                lambda one=one: rate.apply(one),
                lambda one=one: rate.apply(one),
                lambda one=one: rate.take_off(one),
                lambda: setattr(rate, "scale", chance.choice([0.5, 1.0, 1.0])),
                lambda: rate.rewarm(2) if chance.random() < 0.2 else None,
                rate.advance,
                rate.heal,
            ]
        )()
        if not rate.is_idle:
            was_busy = True
            continue
        before = [float(each.param_groups[0]["lr"]) for each in optimizers]
        assert before == pytest.approx([0.1, 0.2])
        rate.heal()
        assert [float(each.param_groups[0]["lr"]) for each in optimizers] == before
        assert (rate.factor, rate.scale, rate.rewarm_steps) == (1.0, 1.0, 0)
        assert not rate.advance()
    assert was_busy
    rate.scale = 1.0
    for _ in range(2):
        rate.heal()
        rate.advance()
    assert rate.is_idle


def test_what_a_failed_step_left_over_keeps_it_from_being_idle() -> None:
    optimizer = SGD([parameter()], lr=0.1)
    rate = RateMultiplier([optimizer])
    rate.scale = 0.5
    rate.apply(optimizer)
    rate.scale = 1.0
    assert not rate.is_idle
    rate.heal()
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert rate.is_idle


def test_several_optimizers_are_all_lowered() -> None:
    first, second = parameter(), parameter()
    optimizers = [SGD([first], lr=0.1), SGD([second], lr=0.2)]
    rate = hooked(*optimizers)
    rate.scale = 0.5
    rate.apply(optimizers[0])  # as where steps are nested: each has its own book
    optimizers[1].step()
    rate.take_off(optimizers[0])
    assert (1 - second.item(), optimizers[0].param_groups[0]["lr"]) == (pytest.approx(0.1), 0.1)


def test_a_warm_up_climbs_evenly_and_ends_at_the_scaled_rate() -> None:
    weight = parameter()
    optimizer = SGD([weight], lr=1.0)
    rate = hooked(optimizer)
    rate.scale = 0.5
    rate.rewarm(3)
    seen, ended = [], []
    for _ in range(5):
        seen.append(moved(weight, optimizer))
        ended.append(rate.advance())
    assert seen == pytest.approx([0.125, 0.25, 0.375, 0.5, 0.5])
    assert ended == [False, False, True, False, False]
    assert rate.rewarm_steps == 0


def test_a_warm_up_counts_observations_and_not_updates() -> None:
    weight = parameter()
    optimizer = SGD([weight], lr=1.0)
    rate = hooked(optimizer)
    rate.rewarm(1)
    assert [moved(weight, optimizer) for _ in range(3)] == pytest.approx([0.5] * 3)
    assert rate.advance()
    assert moved(weight, optimizer) == pytest.approx(1.0)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_a_scale_that_trains_nothing_is_refused(scale: float) -> None:
    rate = RateMultiplier([])
    with pytest.raises(ValueError, match="scale="):
        rate.scale = scale
    assert rate.scale == 1.0


def test_a_warm_up_of_no_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="steps=0"):
        RateMultiplier([]).rewarm(0)


@pytest.mark.parametrize("options", [{"foreach": False}, {"foreach": True}, {"fused": True}], ids=str)
@pytest.mark.parametrize("kind", [Adam, AdamW])
def test_it_trains_exactly_as_the_lowered_schedule_would(kind: type[Optimizer], options: dict[str, bool]) -> None:
    def trained(scale_outside: float, scale: float) -> list[Tensor]:
        torch.manual_seed(0)
        layer = nn.Linear(3, 2)
        optimizer = kind(layer.parameters(), lr=0.5 * scale_outside, **options)  # type: ignore[call-arg]
        scheduler = LambdaLR(optimizer, lambda step: 0.5**step)
        hooked(optimizer).scale = scale
        for _ in range(4):
            optimizer.zero_grad()
            layer(torch.ones(1, 3)).square().sum().backward()
            optimizer.step()
            scheduler.step()
        return [weight.detach() for weight in layer.parameters()]

    for ours, theirs in zip(trained(1.0, 0.25), trained(0.25, 1.0)):
        assert torch.equal(ours, theirs)
