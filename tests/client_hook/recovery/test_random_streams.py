"""Random streams of accelerators that this machine does not have: by modules of the shape that torch gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from client_hook.recovery.random_streams import capture_random, restore_random


class Devices:
    """As ``torch.xpu``: several devices, each with a stream."""

    def __init__(self, count: int = 2, *, is_awake: bool = True) -> None:
        self.streams = [torch.Generator().manual_seed(index) for index in range(count)]
        self.is_awake = is_awake

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return self.is_awake

    def device_count(self) -> int:
        return len(self.streams)

    def get_rng_state(self, device: int = 0) -> Tensor:
        assert self.is_awake, "it was woken up"
        return self.streams[device].get_state()

    def set_rng_state(self, state: Tensor, device: int = 0) -> None:
        self.streams[device].set_state(state)

    def draw(self) -> list[float]:
        return [torch.rand(1, generator=stream).item() for stream in self.streams]


class OneDevice:
    """As ``torch.mps``: one device, and functions that take none."""

    def __init__(self) -> None:
        self._inner = Devices(1)

    def is_available(self) -> bool:
        return True

    def get_rng_state(self) -> Tensor:
        return self._inner.get_rng_state()

    def set_rng_state(self, state: Tensor) -> None:
        self._inner.set_rng_state(state)

    def draw(self) -> list[float]:
        return self._inner.draw()


Provide = Callable[[str, Any], None]


@pytest.fixture
def provide(monkeypatch: pytest.MonkeyPatch) -> Provide:
    def provide(kind: str, module: Any) -> None:
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: torch.device(kind))
        monkeypatch.setattr(torch, "get_device_module", lambda device: module)

    return provide


@pytest.mark.parametrize(("kind", "module"), [("xpu", Devices()), ("mps", OneDevice())], ids=["xpu", "mps"])
def test_an_accelerator_draws_again_what_followed_the_capture(kind: str, module: Any, provide: Provide) -> None:
    provide(kind, module)
    streams = capture_random()
    drawn = module.draw()
    assert module.draw() != drawn
    restore_random(streams)
    assert module.draw() == drawn


def test_one_that_sleeps_is_not_woken_up(provide: Provide) -> None:
    provide("xpu", Devices(is_awake=False))
    assert "accelerator" not in capture_random()


def test_streams_of_another_machine_are_passed_over(provide: Provide) -> None:
    four = Devices(4)
    provide("xpu", four)
    streams = capture_random()
    drawn = four.draw()
    two = Devices(2)
    provide("xpu", two)
    two.draw()
    restore_random(streams)
    assert two.draw() == drawn[:2]
    other = OneDevice()
    provide("mps", other)
    expected = OneDevice().draw()
    restore_random(streams)
    assert other.draw() == expected
