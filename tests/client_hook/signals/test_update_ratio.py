"""A sample of 1,024 elements per tensor against the exact answer over all of them."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor, nn

from client_hook.signals import SenseOptions
from client_hook.signals.sampling import SAMPLES_PER_TENSOR, Choice
from tests.client_hook.signals.watching import Watch, exact_norm, loss_of, seeded


class Sized(nn.Module):
    """Large enough that most of it is not looked at, with rows and columns of unequal weight."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 384)
        self.wide = nn.Linear(384, 1536)
        self.narrow = nn.Linear(1536, 384)
        self.out = nn.Linear(384, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.words(tokens)
        result: Tensor = self.out(hidden + self.narrow(torch.relu(self.wide(hidden))))
        return result


def exact(model: nn.Module, before: list[Tensor]) -> tuple[float, float]:
    after = [p.detach() for p in model.parameters()]
    return exact_norm(after), exact_norm([a.double() - b.double() for a, b in zip(after, before)])


@pytest.mark.parametrize(
    "optimizer_of",
    [
        lambda p: torch.optim.AdamW(p, lr=1e-3),
        lambda p: torch.optim.AdamW(p, lr=1e-3, fused=True),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    ],
    ids=["adamw", "fused", "sgd"],
)
def test_the_sampled_ratio_is_within_three_percent_of_the_exact_one(optimizer_of: object) -> None:
    model = seeded(Sized)
    optimizer = optimizer_of(model.parameters())  # type: ignore[operator]
    watch = Watch(model, optimizer)
    for step in range(12):
        before = [p.detach().clone() for p in model.parameters()]
        optimizer.zero_grad()
        loss_of(model, step).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        values = watch.observe()
        parameters, update = exact(model, before)
        assert values["param_norm"] == pytest.approx(parameters, rel=0.03)
        assert values["update_ratio"] == pytest.approx(update / parameters, rel=0.03)
        assert values["update_ratio"] == pytest.approx(values["update_norm"] / values["param_norm"], rel=1e-5)


def test_of_small_tensors_it_is_exact() -> None:
    model = seeded()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    watch = Watch(model, optimizer)
    for step in range(5):
        before = [p.detach().clone() for p in model.parameters()]
        optimizer.zero_grad()
        loss_of(model, step).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        parameters, update = exact(model, before)
        values = watch.observe()
        assert values["param_norm"] == pytest.approx(parameters, rel=1e-4)
        assert values["update_norm"] == pytest.approx(update, rel=1e-3)


@pytest.mark.parametrize("numel", [1, 2048, 2049, 147_456, 589_824, 1_048_576, 999_983])
def test_a_sample_is_large_enough_and_shares_no_rhythm_with_the_tensor(numel: int) -> None:
    choice = Choice.of(numel, random.Random(3))
    taken = len(range(choice.offset, numel, choice.stride))
    assert taken == numel if numel <= 2048 else taken >= SAMPLES_PER_TENSOR
    if numel == 147_456:  # 384 × 384
        rows = {index // 384 for index in range(choice.offset, numel, choice.stride)}
        columns = {index % 384 for index in range(choice.offset, numel, choice.stride)}
        assert len(rows) == len(columns) == 384


def test_a_skipped_step_is_an_update_of_zero() -> None:
    model = seeded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer)
    optimizer.step()  # no gradients: nothing moves
    assert watch.observe()["update_norm"] == 0.0


def test_parameters_of_zero_have_a_ratio_of_zero_and_not_of_nan() -> None:
    parameter = nn.Parameter(torch.zeros(10))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    watch = Watch(nn.ParameterList([parameter]), optimizer)
    parameter.grad = torch.zeros(10)
    optimizer.step()
    assert watch.observe()["update_ratio"] == 0.0


def test_an_edit_between_two_steps_is_not_taken_for_an_update() -> None:
    model = seeded()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    watch = Watch(model, optimizer)
    for step in range(3):
        optimizer.zero_grad()
        loss_of(model, step).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        values = watch.observe()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(2.0)  # somebody's weight trick, or a rollback
    assert values["update_ratio"] < 1e-4


@pytest.mark.parametrize(
    "weight",
    [
        torch.randn(64, 48).t(),
        torch.randn(8, 3, 5, 5).to(memory_format=torch.channels_last),
        torch.randn(100, 100)[:, :40],
        torch.randn(100, 100)[::2],
        torch.randn(30, dtype=torch.complex64),
    ],
    ids=["transposed", "channels last", "columns", "every other row", "complex"],
)
def test_unusual_layouts_are_followed(weight: Tensor) -> None:
    parameter = nn.Parameter(weight)
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    watch = Watch(nn.ParameterList([parameter]), optimizer)
    parameter.grad = parameter.detach().clone()
    optimizer.step()
    values = watch.observe()
    # The whole is multiplied by 0.9 at every element, so the ratio is known whatever the sample.
    assert values["update_ratio"] == pytest.approx(0.1 / 0.9, rel=1e-3)


def test_a_model_that_is_cast_on_the_way_is_looked_at_anew() -> None:
    model = seeded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer)
    for dtype in (torch.float32, torch.float64):
        model.to(dtype)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        values = watch.observe()
        moved = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert values["update_norm"] == pytest.approx(0.1 * moved**0.5, rel=1e-3)


def test_of_two_optimizers_the_one_that_had_no_turn_adds_no_update() -> None:
    first, second = nn.Parameter(torch.full((4,), 3.0)), nn.Parameter(torch.full((4,), 4.0))
    optimizers = [torch.optim.SGD([one], lr=0.1) for one in (first, second)]
    watch = Watch(nn.ParameterList([first, second]), *optimizers)
    for turns in ((0, 1), (0,)):
        for parameter in (first, second):
            parameter.grad = torch.ones(4)
        for turn in turns:
            optimizers[turn].step()
        values = watch.observe()
        expected = exact_norm([torch.full((4 * len(turns),), 0.1)])
        assert values["update_norm"] == pytest.approx(expected, rel=1e-4)
    assert values["param_norm"] == pytest.approx(exact_norm([first, second]), rel=1e-4)


def test_every_so_often_it_is_exact_where_asked_for() -> None:
    model = seeded(Sized)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    watch = Watch(model, optimizer, options=SenseOptions(exact_update_ratio_every=3))
    errors = []
    for step in range(6):
        before = [p.detach().clone() for p in model.parameters()]
        optimizer.zero_grad()
        loss_of(model, step).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        parameters, update = exact(model, before)
        errors.append(abs(watch.observe()["update_ratio"] / (update / parameters) - 1))
    assert max(errors[2], errors[5]) < 1e-5
    assert min(errors[0], errors[1], errors[3], errors[4]) > 1e-5
