"""Where models train against each other, a rising loss is no fault; what is not finite is one there too."""

from __future__ import annotations

import pytest

from tests.policy.story import RUN, Story
from trainguard.wire import FindingKind, RunDescription

GAN = {"models": 2, "optimizers": [{"name": "Adam"}, {"name": "Adam"}]}
ONE_CONTAINER = {"models": 1, "optimizers": [{"name": "Adam"}, {"name": "Adam"}]}
TWO_KINDS = {"models": 1, "optimizers": [{"name": "Muon"}, {"name": "AdamW"}]}
ONE = {"models": 1, "optimizers": [{"name": "AdamW"}]}


@pytest.mark.parametrize(
    ("config", "kind", "is_treated"),
    [
        (GAN, "divergence", False),
        (ONE_CONTAINER, "divergence", False),
        (ONE_CONTAINER, "loss_spike", False),
        (TWO_KINDS, "divergence", True),
        (ONE, "divergence", True),
        ({}, "divergence", True),
        (GAN, "non_finite", True),
        (GAN, "grad_explosion", True),
    ],
    ids=["GAN", "GAN in one", "GAN in one, spike", "Muon and AdamW", "one", "unknown", "GAN, NaN", "GAN, gradients"],
)
def test_a_loss_that_rises_is_treated_where_it_must_sink(
    config: dict[str, object], kind: FindingKind, is_treated: bool
) -> None:
    story = Story()
    story.description = RunDescription(run_id=RUN, run="pair", started_at=0.0, config=config)
    story.judge(story.finding(kind, onset=395), loss=9.0)
    assert bool(story.commands) == is_treated
    if not is_treated:
        assert story.decisions[-1].verdict == "nothing"
        assert "several optimizers of one kind" in story.decisions[-1].reason
