from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from client_hook.signals import Reading, as_number
from client_hook.signals.reading import checked_name
from tests.client_hook.signals.watching import Watch, loss_of, seeded


@pytest.mark.parametrize(
    ("given", "number"),
    [
        (1, 1.0),
        (2.5, 2.5),
        (True, 1.0),
        (np.float32(0.5), 0.5),
        (np.array([3.0]), 3.0),
        (np.int64(4), 4.0),
        (torch.tensor(1.5), 1.5),
        (torch.tensor([[1.5]]), 1.5),
        (torch.tensor(7), 7.0),
        (torch.tensor(1.5, dtype=torch.bfloat16), 1.5),
        (torch.tensor(2.0, requires_grad=True), 2.0),
        (math.inf, math.inf),
        (10**400, math.inf),
        (-(10**400), -math.inf),
    ],
)
def test_whatever_is_one_real_number_is_taken(given: object, number: float) -> None:
    assert Reading({"loss": as_number("loss", given)}).wait() == {"loss": number}


@pytest.mark.parametrize(
    "given", [None, "1.0", b"1", 1j, [1.0], torch.ones(2), torch.tensor(1j), np.ones(2), {}, torch.empty(0)]
)
def test_whatever_is_not_is_refused_by_name(given: object) -> None:
    with pytest.raises(TypeError, match="loss is a"):
        as_number("loss", given)


@pytest.mark.parametrize("name", ["", "a b", "9lives", "ü", "x" * 121, "a\n"])
def test_a_name_that_cannot_travel_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match="cannot be sent"):
        checked_name(name)


def test_what_the_user_gives_wins_over_what_was_measured() -> None:
    model = seeded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer)
    loss = loss_of(model, 0)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    values = watch.observe(loss, learning_rate=7.0, tokens=128, **{"head/accuracy": torch.tensor(0.5)})
    assert values["loss"] == pytest.approx(loss.item())
    assert (values["learning_rate"], values["tokens"], values["head/accuracy"]) == (7.0, 128.0, 0.5)


def test_what_is_no_number_is_left_out_alone_and_said() -> None:
    model = seeded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    said: list[str] = []
    watch = Watch(model, optimizer, complain=lambda kind, message: said.append(f"{kind}: {message}"))
    loss_of(model, 0).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    values = watch.observe("not a number", accuracy=0.5, tag="x", **{"a b": 1.0})
    assert {"grad_norm", "accuracy"} <= set(values)
    assert not {"loss", "tag", "a b"} & set(values)
    assert [one.split(":")[0] for one in said] == ["signal loss", "signal tag", "signal a b"]
    assert "tag is a str; pass one real number" in said[1]
    assert "grad_norm" not in watch.observe(1.0)


def test_the_time_of_a_step_is_from_one_observation_to_the_next() -> None:
    now = [10.0]
    parameter = nn.Parameter(torch.ones(1))
    watch = Watch(nn.ParameterList([parameter]), torch.optim.SGD([parameter], lr=0.1), clock=lambda: now[0])
    assert "step_seconds" not in watch.observe()
    now[0] = 10.25
    assert watch.observe()["step_seconds"] == 0.25
    now[0] = 12.25
    assert watch.observe()["step_seconds"] == 2.0


def test_the_time_of_a_rollback_is_not_the_time_of_a_step() -> None:
    now = [0.0]
    parameter = nn.Parameter(torch.ones(1))
    watch = Watch(nn.ParameterList([parameter]), torch.optim.SGD([parameter], lr=0.1), clock=lambda: now[0])
    watch.observe()
    now[0] = 60.0
    watch.senses.forget_step()
    now[0] = 61.0
    assert watch.observe()["step_seconds"] == 1.0
