"""The whole chain: a real training diverges → Prometheus scrapes → the rule fires → Alertmanager → a webhook is told.

Real servers, the checked-in configuration, minutes turned into seconds.
"""

from __future__ import annotations

import httpx
import pytest

from tests.dashboards.film import ALERT, DEADLINE_SECONDS, Film
from tests.dashboards.monitoring_servers import instant_query, poll

pytestmark = pytest.mark.slow


def test_a_divergence_reaches_a_webhook_and_so_does_its_end_once_each(film: Film) -> None:
    poll(
        lambda: not instant_query(film.prometheus, f'ALERTS{{alertname="{ALERT}"}}'),
        "no such alert left in Prometheus",
        DEADLINE_SECONDS,
    )
    question = f"http://{film.alertmanager}/api/v2/alerts"
    poll(
        lambda: not httpx.get(question, params={"filter": f'alertname="{ALERT}"'}, timeout=5).json(),
        "no such alert left in Alertmanager",
        DEADLINE_SECONDS,
    )
    assert [film.firing["status"], film.resolved["status"]] == ["firing", "resolved"]
    assert film.further.empty(), "each is told once"
    run = film.training.labels
    for notification in (film.firing, film.resolved):
        assert notification["receiver"] == "people"
        (alert,) = notification["alerts"]
        assert alert["labels"] == {"alertname": ALERT, "severity": "warning", "about": "run", **run}
        assert alert["annotations"]["summary"] == f"The loss of run {run['run']} ({run['project']}) is diverging."
        assert alert["annotations"]["link"] == f"http://127.0.0.1:8321/runs/{run['run_id']}"


def test_the_alert_quotes_what_was_decided(film: Film) -> None:
    (alert,) = film.resolved["alerts"]
    quoted = alert["annotations"]["decision"]
    rows = film.connection.execute("SELECT document FROM decisions WHERE run_id = %s", [film.training.labels["run_id"]])
    decided = [document["reason"] for (document,) in rows]

    # Which of them was the latest when the alert was last evaluated, the machine's pace decides.
    assert quoted
    assert any(reason.startswith(quoted.removesuffix("…")) for reason in decided)
    assert any("roll back to the confirmed checkpoint" in reason.lower() for reason in decided)
