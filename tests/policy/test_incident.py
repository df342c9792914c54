"""When a loss counts as back."""

from __future__ import annotations

import pytest

from tests.policy.story import Story


@pytest.mark.parametrize(("level", "is_back"), [(2.5, True), (2.85, True), (2.9, False), (3.235, False)])
def test_a_median_of_losses_is_back_within_two_widths_of_the_noise_of_one(level: float, is_back: bool) -> None:
    story = Story()
    story.judge(story.finding("loss_spike", severity="warning"))
    [incident] = story.memory.incidents
    noisy = incident.model_copy(update={"loss_before": 2.5, "loss_band": 0.18})
    assert noisy.loss_is_back(level) is is_back
