"""The film: a real training diverges, is rolled back and recovers, before the eyes of the real servers.

Service on PostgreSQL → Prometheus with the checked-in rules → Alertmanager with the checked-in routes → a webhook. It
is played once for all tests that ask what became of it, which run in one worker (``tests/conftest.py``).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from dashboards.alertmanager.alert_sink import listen
from tests.dashboards.monitoring_servers import alertmanager, instant_query, poll, prometheus
from tests.dashboards.real_training import RealTraining
from tests.monitor_server import postgres

ALERT = "TrainguardDivergence"
DEADLINE_SECONDS = 120
DATABASE = "dashboards"


@dataclass(frozen=True)
class Film:
    """What can be looked at when it is over. Everything still runs."""

    training: RealTraining
    prometheus: str
    alertmanager: str
    firing: dict[str, Any]
    """What the webhook was told first about `ALERT`, and what then."""
    resolved: dict[str, Any]
    further: queue.SimpleQueue[dict[str, Any]]
    """What it was told after that."""
    cluster: str
    connection: psycopg.Connection[Any]


@contextmanager
def played(folder: Path) -> Iterator[Film]:
    """Play it; about half a minute on an idle machine."""
    told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def hear(notification: dict[str, Any]) -> None:
        # A loss that runs away may first look like an exploding gradient: of that another alert tells, or several.
        if notification["groupLabels"].get("alertname") == ALERT:
            told.put(notification)

    with (
        postgres.running_cluster() as cluster,
        RealTraining(folder / "training", postgres.create_database(cluster, DATABASE)) as training,
        psycopg.connect(f"postgresql://{cluster}/{DATABASE}", autocommit=True) as connection,
        _listening(hear) as webhook,
        alertmanager(folder / "alertmanager", webhook, one_by_one=True) as pager,
        prometheus(folder / "prometheus", training.target, pager) as url,
    ):

        def count(rows: str) -> int:
            row = connection.execute(f"SELECT count(*) FROM {rows}").fetchone()  # type: ignore[arg-type]
            return int(row[0]) if row else 0

        zero = 'count_over_time(trainguard_run_findings_total{kind="divergence", severity="critical"}[1m]) >= 3'
        poll(lambda: instant_query(url, zero), "the counter is known at 0", DEADLINE_SECONDS)
        poll(lambda: count("checkpoints WHERE state = 'confirmed'") >= 3, "three checkpoints", DEADLINE_SECONDS)
        assert told.empty(), told.get()

        training.diverge()
        firing = told.get(timeout=DEADLINE_SECONDS)
        training.recover()
        poll(lambda: count("observations WHERE attempt = 1"), "steps after the rollback", DEADLINE_SECONDS)
        rolled_back = "trainguard_run_rollbacks_total > 0"
        poll(lambda: instant_query(url, rolled_back), "the rollback is scraped", DEADLINE_SECONDS)
        resolved = told.get(timeout=DEADLINE_SECONDS)
        training.rest()
        yield Film(training, url, pager, firing, resolved, told, cluster, connection)


@contextmanager
def _listening(hear: Any) -> Iterator[str]:
    with listen("127.0.0.1", 0, hear) as sink:
        thread = threading.Thread(target=sink.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{sink.server_port}/"
        finally:
            sink.shutdown()
            thread.join(timeout=10)
