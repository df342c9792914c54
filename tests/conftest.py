"""What holds for every test: no fault that the hook swallowed stays hidden, and who runs what where there are several
workers: tests that share servers run in one, so that these are started once.

The marker `xdist_group` would say the same, and is not heard: pytest-xdist 3.8 writes the group where pytest 9.2 does
not look for a test's name any more. So the scheduler is told here, by files.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

TOGETHER = {
    "tests/dashboards/test_alert_chain.py": "film",
    "tests/dashboards/test_real_metrics.py": "film",
    "tests/dashboards/test_sql_panels.py": "film",
    "tests/dashboards/test_grafana_dashboards.py": "exporter",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For ``--dist loadgroup``, as `make test` has it; every test of no group is one of its own."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling  # only where there are workers

    class ByServers(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return TOGETHER.get(nodeid.partition("::")[0], nodeid)

    return ByServers(config, log)


@pytest.fixture(autouse=True)
def swallowed_faults_are_raised() -> Iterator[None]:
    """A test that means to cause a fault takes it with ``client_hook.guard.take_swallowed()``."""
    guard = sys.modules.get("client_hook.guard")  # not imported for this: most tests need no torch
    if guard is None:
        yield
        return
    guard.record_swallowed()
    yield
    guard.raise_swallowed()
