"""Dashboards and rules cannot drift from the service: its own /metrics against the contract they are written on, and
every panel's query against a real Prometheus that scraped a real training."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.dashboards.fake_exporter import ALARMING, FakeTrainingExporter, metric_names
from tests.dashboards.film import Film
from tests.dashboards.test_grafana_dashboards import PANELS, require_answer
from trainguard.detectors import DETECTORS


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


def test_the_service_serves_the_names_and_labels_that_the_queries_stand_on(film: Film) -> None:
    with FakeTrainingExporter() as exporter:
        exporter.diverge()
        promised = exposed(httpx.get(f"http://{exporter.target}/metrics", timeout=10).text)
    assert metric_names() <= set(promised)
    told = exposed(film.training.exposition())
    incidents = "trainguard_run_active_incidents"  # only while there are any
    assert {incidents: promised[incidents], **told} == promised


def test_the_label_values_that_the_queries_name_are_the_service_s_own(film: Film) -> None:
    text = film.training.exposition()
    kinds = {detector.kind for detector in DETECTORS.values()}
    assert kinds >= label_values(text, "kind") >= set(ALARMING)
    assert label_values(text, "severity") == {"info", "warning", "critical"}
    assert label_values(text, "outcome") == {"delivered", "failed"}
    assert label_values(text, "status") >= {"recorded", "duplicate"}
    assert "running" in label_values(text, "state")


@pytest.mark.parametrize("panel", PANELS)
def test_every_panel_has_an_answer(panel: dict[str, Any], film: Film) -> None:
    for target in panel["targets"]:
        require_answer(target, film.prometheus)
