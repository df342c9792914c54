"""Dashboards and rules cannot drift from the service: its own /metrics against the contract they are written on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.dashboards.fake_exporter import KINDS, SEVERITIES, FakeTrainingExporter, metric_names
from tests.dashboards.monitoring_servers import instant_query, poll, prometheus
from tests.dashboards.test_grafana_dashboards import PANELS, require_answer
from tests.dashboards.watched_training import WatchedTraining
from trainguard.detectors import DETECTORS

# One worker of pytest-xdist, so that the servers of this file are started once.
pytestmark = pytest.mark.xdist_group("dashboards-real_metrics")


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedTraining]:
    with WatchedTraining(tmp_path_factory.mktemp("service")) as training:
        poll(lambda: "trainguard_run_loss{" in training.exposition(), "the first observations are recorded")
        yield training


@pytest.fixture(scope="module")
def prometheus_url(training: WatchedTraining, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that has seen the service roll a diverging run back."""
    with prometheus(tmp_path_factory.mktemp("prometheus") / "server", training.target) as url:
        poll(lambda: instant_query(url, "count_over_time(trainguard_run_step[1m]) >= 3"), "three scrapes")
        training.diverge()
        poll(lambda: instant_query(url, 'ALERTS{alertname="TrainguardDivergence"}'), "the alert fires")
        training.recover()
        poll(lambda: instant_query(url, "increase(trainguard_run_rollbacks_total[15s]) > 0"), "the rollback is scraped")
        yield url


def exposed(text: str) -> dict[str, frozenset[str]]:
    """Every name of ours with its labels; not when a counter was made, which no query uses."""
    return {
        sample.name: frozenset(sample.labels)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def label_values(text: str, label: str) -> set[str]:
    return {
        sample.labels[label]
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if label in sample.labels
    }


def test_the_service_serves_the_names_and_labels_that_the_queries_stand_on(training: WatchedTraining) -> None:
    with FakeTrainingExporter() as exporter:
        promised = exposed(httpx.get(f"http://{exporter.target}/metrics", timeout=10).text)
    assert metric_names() <= set(promised)
    assert exposed(training.exposition()) == promised


def test_the_label_values_that_the_queries_name_are_the_service_s_own(training: WatchedTraining) -> None:
    text = training.exposition()
    assert label_values(text, "kind") == {detector.kind for detector in DETECTORS.values()} >= set(KINDS)
    assert label_values(text, "severity") == set(SEVERITIES)
    assert label_values(text, "outcome") == {"delivered", "failed"}
    assert label_values(text, "status") >= {"recorded", "duplicate"}
    assert "running" in label_values(text, "state")


@pytest.mark.parametrize("panel", PANELS)
def test_every_panel_has_an_answer_from_the_service(panel: dict[str, Any], prometheus_url: str) -> None:
    for target in panel["targets"]:
        require_answer(target, prometheus_url)
