"""The page on detection names every kind, and every threshold with its default."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainguard.detectors import DETECTORS, thresholds_of
from trainguard.wire import KINDS

PAGE = (Path(__file__).parents[2] / "docs" / "detection.md").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_finding_has_a_row(kind: str) -> None:
    assert f"\n| `{kind}` | " in PAGE


@pytest.mark.parametrize("name", DETECTORS)
def test_every_threshold_is_written_down_with_its_default(name: str) -> None:
    thresholds = ", ".join(f"`{key}` {value:g}" for key, value in thresholds_of(DETECTORS[name]).items())

    assert f"\n| `{name}` | {thresholds} |\n" in PAGE
