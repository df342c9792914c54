from __future__ import annotations

import math
from pathlib import Path

import pytest

from examples.char_gpt.picture import draw, kept_and_abandoned
from examples.char_gpt.training import TrainingRecord
from tests.examples.char_gpt.facts import outcome_of


def test_an_abandoned_attempt_is_told_from_what_was_kept() -> None:
    # 0..5, back to 3, on to 6, back to 1, on to the end
    steps = [0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 1, 2, 3]
    record = TrainingRecord(steps, [float(step) for step in steps], [0.1] * len(steps))
    kept, abandoned = kept_and_abandoned(record)
    assert [branch[0] for branch in kept] == [[0], [1, 2, 3]]
    # Each grey line begins at the last point that was kept, where there is one.
    assert [branch[0] for branch in abandoned] == [[0, 1, 2, 3, 4, 5], [3, 4, 5, 6]]


@pytest.mark.parametrize("unprotected", [2.5, math.nan])
def test_the_picture_is_drawn(tmp_path: Path, unprotected: float) -> None:
    outcome = outcome_of(1.7, unprotected, 1.75)
    if math.isnan(unprotected):
        outcome.unprotected.losses[70:] = [math.nan] * 30
    draw(outcome, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
