"""What some tests do without on a laptop must be there in CI: a skip may not hide a missing install step."""

from __future__ import annotations

import importlib.util
import os

import pytest


@pytest.mark.parametrize(
    "name",
    [
        "apprise",
        "axe_playwright_python",
        "grafana_foundation_sdk",
        "hatchling",
        "pandas",
        "pytorch_optimizer",
        "schemathesis",
        "torchdata",
    ],
)
def test_what_tests_need_is_installed(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is not installed, and CI=true: pip install -e '.[dev]' -c constraints.txt")
        pytest.skip(f"{name} is not installed; the tests that need it are skipped")
