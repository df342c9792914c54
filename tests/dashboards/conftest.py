"""One real training for every test that asks what Prometheus, Alertmanager and PostgreSQL know of one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dashboards.film import Film, played


@pytest.fixture(scope="package")
def film(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Film]:
    with played(tmp_path_factory.mktemp("film")) as film:
        yield film
