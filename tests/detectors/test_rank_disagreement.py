from __future__ import annotations

from collections.abc import Callable
from math import exp
from random import Random

import pytest

from tests.detectors.streams import feed, observation
from trainguard.detectors import build_detector
from trainguard.wire import Finding, Observation

ONSET = 120


def of_ranks(
    ranks: int,
    level: Callable[[int], float],
    own: Callable[[int, int], float],
    *,
    seed: int = 0,
    steps: int = 240,
    scatter: float = 0.05,
) -> list[Observation]:
    """Losses of ``ranks`` processes, and their mean.

    Five per cent of scatter about ``level(step)``, from ONSET on ``scatter``; times ``own(rank, step)``.
    """
    chance = Random(seed)
    stream = []
    for step in range(steps):
        width = 0.05 if step < ONSET else scatter
        losses = [level(step) * own(rank, step) * exp(chance.gauss(0, width)) for rank in range(ranks)]
        named = {f"loss/rank{rank}": loss for rank, loss in enumerate(losses)}
        stream.append(observation(step, loss=sum(losses) / ranks, **named))
    return stream


def said(stream: list[Observation]) -> list[Finding]:
    return feed(build_detector("rank_disagreement"), stream)


def diverging(step: int) -> float:
    return 2.0 * 1.08 ** min(max(0, step - ONSET), 40)


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("level", [diverging, lambda step: 2.0 if step < ONSET else 40.0], ids=["grows", "jumps"])
def test_ranks_that_diverge_together_do_not_disagree(ranks: int, level: Callable[[int], float]) -> None:
    for seed in range(20):
        assert not said(of_ranks(ranks, level, lambda rank, step: 1.0, seed=seed, scatter=0.3))


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("wild", [2.0, 5.0, 30.0])
def test_one_wild_batch_of_one_rank_is_no_disagreement(ranks: int, wild: float) -> None:
    def own(rank: int, step: int) -> float:
        return wild if (rank, step) == (1, ONSET) else 1.0

    for seed in range(10):
        assert not said(of_ranks(ranks, lambda step: 2.0, own, seed=seed))


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("factor", [1.3, 3.0])
def test_a_rank_that_lies_apart_is_found_soon(ranks: int, factor: float) -> None:
    for seed in range(10):
        stream = of_ranks(
            ranks, lambda step: 2.0, lambda rank, step: factor if rank == 1 and step >= ONSET else 1.0, seed=seed
        )
        [finding] = said(stream)
        assert finding.step <= ONSET + 30
        assert ranks == 2 or finding.signal == "loss/rank1"


def test_a_rank_that_lies_apart_is_found_in_a_run_that_diverges_too() -> None:
    stream = of_ranks(4, diverging, lambda rank, step: 2.0 if rank == 1 and step >= ONSET + 60 else 1.0)

    assert {one.signal for one in said(stream)} == {"loss/rank1"}
