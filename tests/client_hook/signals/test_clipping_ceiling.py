from __future__ import annotations

import math
import random

import pytest

from client_hook.signals.clipping_ceiling import ClippingCeiling


def clipped(norm: float, limit: float) -> float:
    """What is left of a norm behind ``clip_grad_norm_``."""
    return norm * min(1.0, limit / (norm + 1e-6))


@pytest.mark.parametrize("limit", [1.0, 0.5, 0.25, 5.0, 10.0, 0.7071])
def test_a_ceiling_is_found_soon_after_it_is_first_hit(limit: float) -> None:
    chance = random.Random(1)
    ceiling = ClippingCeiling()
    said = [ceiling.saw(clipped(limit * math.exp(chance.gauss(0.5, 0.5)), limit)) for _ in range(60)]
    assert all(said[20:])


@pytest.mark.parametrize("seed", range(20))
def test_norms_that_nobody_clipped_are_not_called_clipped(seed: int) -> None:
    chance = random.Random(seed)
    ceiling = ClippingCeiling()
    assert not any(ceiling.saw(math.exp(chance.gauss(0.0, 0.5))) for _ in range(500))


def test_a_raised_ceiling_is_found_anew() -> None:
    ceiling = ClippingCeiling()
    assert [ceiling.saw(1.0) for _ in range(4)][-1]
    assert not ceiling.saw(2.0)
    assert [ceiling.saw(2.0) for _ in range(4)][-1]


@pytest.mark.parametrize("odd", [math.nan, math.inf, 0.0, -1.0])
def test_a_norm_that_says_nothing_changes_nothing(odd: float) -> None:
    ceiling = ClippingCeiling()
    assert not ceiling.saw(odd)
    for _ in range(5):
        ceiling.saw(1.0)
    assert ceiling.saw(odd)
    assert ceiling.saw(1.0)
