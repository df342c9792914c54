from __future__ import annotations

from math import nan

import pytest

from benchmarks.detection.peers import PEERS
from tests.detectors.streams import changed, healthy, scaled
from trainguard.wire import Observation

CALM = scaled(healthy(1200, start=2.0, floor=1.9, noise=0.02), 0, grad_norm=1.0)
SEES_A_JUMP = [name for name in PEERS if name not in ("patience (EarlyStopping)", "AXLearn skip")]
IS_BLINDED = ["OLMo-core stability monitor", "OLMo-core skip-step (Levanter, MaxText)", "Page-Hinkley"]


def spoken(name: str, stream: list[Observation]) -> list[int]:
    rule = PEERS[name](len(stream))
    return [index for index, observation in enumerate(stream) if rule.update(observation)]


@pytest.mark.parametrize("name", SEES_A_JUMP)
def test_a_lasting_jump_of_everything_is_seen(name: str) -> None:
    assert [index for index in spoken(name, scaled(CALM, 600, loss=30.0, grad_norm=60.0)) if index >= 600]


def test_axlearn_sees_a_gradient_twenty_times_its_average() -> None:
    assert spoken("AXLearn skip", scaled(CALM, 600, 601, grad_norm=100.0)) == [600]


def test_patience_sees_a_loss_that_no_longer_falls() -> None:
    falling = healthy(500, start=5.0, floor=1.0, noise=0.0)

    assert not spoken("patience (EarlyStopping)", falling)
    assert spoken("patience (EarlyStopping)", scaled(falling, 200, loss=3.0))


@pytest.mark.parametrize("name", IS_BLINDED)
def test_the_weaknesses_of_the_originals_are_kept(name: str) -> None:
    stream = scaled(changed(CALM, 580, loss=nan), 600, 601, loss=30.0)

    assert 600 not in spoken(name, stream)


def test_adwin_finds_a_change_of_the_mean_within_two_checks() -> None:
    first = spoken("ADWIN", scaled(CALM, 640, loss=1.5))

    assert 640 <= next(index for index in first if index >= 640) <= 640 + 64
