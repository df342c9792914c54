"""The whole chain: a run diverges → Prometheus scrapes → the rule fires → Alertmanager → a webhook is told.

Real servers, the checked-in configuration, minutes turned into seconds. Whatever serves the metrics and can be
made to diverge and recover may stand at the beginning: one line in SOURCES.
"""

import queue
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from dashboards.alertmanager.alert_sink import listen
from tests.dashboards.fake_exporter import FakeTrainingExporter
from tests.dashboards.monitoring_servers import alertmanager, instant_query, poll, prometheus
from tests.dashboards.watched_training import WatchedTraining

DEADLINE_SECONDS = 60


class MetricsSource(Protocol):
    """Something with a ``/metrics`` whose run can be made to diverge."""

    @property
    def target(self) -> str:
        """Host and port to scrape."""

    troubled: dict[str, str]
    """The labels project, run and run_id of the run that will diverge."""

    def diverge(self) -> None:
        """Make that run diverge; returns at once."""

    def recover(self) -> None:
        """Let its incident be resolved; returns at once."""


SOURCES: dict[str, Callable[[Path], AbstractContextManager[MetricsSource]]] = {
    "exporter": lambda folder: FakeTrainingExporter(),
    "service": WatchedTraining,
}


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_a_divergence_reaches_a_webhook_and_so_does_its_end(source: str, tmp_path: Path) -> None:
    told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def hear(notification: dict[str, Any]) -> None:
        # On a busy machine a scrape may miss its second; hastened, the alert about the service then fires too.
        if "run_id" in notification["groupLabels"]:
            told.put(notification)

    with (
        SOURCES[source](tmp_path / "source") as metrics,
        listen("127.0.0.1", 0, hear) as sink,
        alertmanager(tmp_path / "alertmanager", f"http://127.0.0.1:{sink.server_port}/") as pager,
        prometheus(tmp_path / "prometheus", metrics.target, pager) as url,
    ):
        thread = threading.Thread(target=sink.serve_forever)
        thread.start()
        try:
            zero = 'count_over_time(trainguard_run_findings_total{kind="divergence"}[1m]) >= 3'
            poll(lambda: instant_query(url, zero), "the counter is known at 0")
            assert told.empty(), told.get()

            metrics.diverge()
            firing = told.get(timeout=DEADLINE_SECONDS)
            metrics.recover()
            resolved = told.get(timeout=DEADLINE_SECONDS)
            poll(lambda: not instant_query(url, "ALERTS"), "no alert left in Prometheus")
            poll(
                lambda: not httpx.get(f"http://{pager}/api/v2/alerts?active=true", timeout=5).json(),
                "no alert left in Alertmanager",
            )
        finally:
            sink.shutdown()
            thread.join(timeout=10)

    assert [firing["status"], resolved["status"]] == ["firing", "resolved"]
    assert told.empty(), "each is told once"
    for notification in (firing, resolved):
        assert notification["receiver"] == "people"
        (alert,) = notification["alerts"]
        run = metrics.troubled
        assert alert["labels"] == {"alertname": "TrainguardDivergence", "severity": "warning", "about": "run", **run}
        assert alert["annotations"]["summary"] == f"The loss of run {run['run']} ({run['project']}) is diverging."
        assert alert["annotations"]["link"] == f"http://127.0.0.1:8321/runs/{run['run_id']}"
