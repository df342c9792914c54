"""Thousands of runs stay quick: the list in a real Chromium, over a database that has them."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.many_runs import fill, measured
from tests.browser.story import Sender

RUNS = 5000
WITHIN_SECONDS = 5.0
"""For each thing that a person waits for: many times what it takes, because a machine may be busy elsewhere."""
WITHIN_KIB = 250


@pytest.mark.slow
def test_five_thousand_runs_are_listed_searched_and_turned_over_at_once(
    page: Page, address: str, sender: Sender, tmp_path: Path
) -> None:
    fill(tmp_path / "trainguard.db", sender.healthy_run(run="pattern").run_id.hex, RUNS)
    figures = measured(page, address, RUNS)
    assert all(seconds < WITHIN_SECONDS for name, seconds in figures.items() if name.endswith(", s")), figures
    assert figures["answer of a page, KiB"] < WITHIN_KIB
    assert figures["rows in the page"] == 50
