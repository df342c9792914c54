"""Grafana's dashboards: what is checked in is what the Python says, and every query has an answer.

There is no Grafana here. Every annotation's and variable's query is run, variables replaced, against a real Prometheus
that scrapes an exporter with our metric names; panels are run against what a real training filled (test_real_metrics).
"""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.dashboards.fake_exporter import TROUBLED, FakeTrainingExporter, metric_names
from tests.dashboards.monitoring_servers import DASHBOARDS, PROMETHEUS, instant_query, poll, prometheus, range_query

FOLDER = DASHBOARDS / "grafana" / "dashboards"
BOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))
}
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']} ({index})")
    for name, board in BOARDS.items()
    for index, panel in enumerate(board["panels"])
    if panel["type"] != "row" and panel["datasource"]["type"] == "prometheus"
]
ANNOTATIONS = [
    pytest.param(annotation, id=f"{name}: {annotation['name']}")
    for name, board in BOARDS.items()
    for annotation in board.get("annotations", {}).get("list", [])
    if annotation["datasource"]["type"] == "prometheus"
]
VARIABLES = [
    pytest.param(variable, id=f"{name}: {variable['name']}")
    for name, board in BOARDS.items()
    for variable in board["templating"]["list"]
    if variable["type"] == "query" and variable["datasource"]["type"] == "prometheus"
]
# What a person would have chosen, and what Grafana would compute for a scrape each second.
CHOSEN = {
    "project": ".*",
    "run": TROUBLED["run"],
    "run_id": ".*",
    "__rate_interval": "15s",
    "__interval": "5s",
    "__range": "10m",
}


def substituted(query: str) -> str:
    """The query with Grafana's variables replaced; ``$1`` of a label_replace is none and stays.

    >>> substituted('x{run="$run", run_id=~"${run_id}"}[$__range]')
    'x{run="gpt", run_id=~".*"}[10m]'
    """
    return re.sub(r"\$(?:\{([a-z_]+)\}|([a-z_]+))", lambda found: CHOSEN[found[1] or found[2]], query)


def finite_values(series: list[dict[str, Any]]) -> list[float]:
    """All finite numbers of an instant or range answer."""
    pairs = [pair for one in series for pair in one.get("values", [one.get("value")])]
    return [value for _, text in pairs if math.isfinite(value := float(text))]


def require_answer(target: dict[str, Any], url: str) -> None:
    """Fails where a panel's query brings no finite number from the Prometheus at ``url``."""
    expression = substituted(target["expr"])

    def answer() -> list[dict[str, Any]]:
        return instant_query(url, expression) if target.get("instant") else range_query(url, expression, seconds=300)

    poll(lambda: finite_values(answer()), f"a finite value of {expression}", seconds=15)


@pytest.fixture(scope="module")
def prometheus_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that has seen a run diverge, go back, lose data and escalate."""
    folder: Path = tmp_path_factory.mktemp("prometheus")
    with FakeTrainingExporter() as exporter, prometheus(folder / "server", exporter.target) as url:
        seen = "count_over_time(trainguard_run_step[1m]) >= 5"
        poll(lambda: instant_query(url, seen), "five scrapes")
        events = (exporter.diverge, exporter.roll_back, exporter.fail_to_recover, exporter.lose_observations)
        for event in (*events, exporter.escalate):
            event()
        told = 'increase(trainguard_run_escalations_total{run="gpt"}[15s]) > 0 and on () ALERTS'
        poll(lambda: instant_query(url, told), "the troubles are scraped and an alert fires")
        yield url


def test_the_checked_in_json_is_what_the_python_says() -> None:
    generate = pytest.importorskip("dashboards.grafana.generate", reason="needs the extra dashboards")
    assert generate.differing() == [], "run: python -m dashboards.grafana.generate"
    assert set(BOARDS) == set(generate.DASHBOARDS)


def test_differing_notices_what_is_old_missing_or_strange(tmp_path: Path) -> None:
    generate = pytest.importorskip("dashboards.grafana.generate", reason="needs the extra dashboards")
    (tmp_path / "fleet.json").write_text("{}")
    (tmp_path / "strange.json").write_text("{}")
    assert generate.differing(tmp_path) == [
        "fleet.json",
        "incident.json",
        "service.json",
        "strange.json",
        "training-run.json",
    ]


@pytest.mark.parametrize("annotation", ANNOTATIONS)
def test_every_annotation_has_an_answer(annotation: dict[str, Any], prometheus_url: str) -> None:
    expression = substituted(annotation["expr"])
    poll(lambda: range_query(prometheus_url, expression, seconds=60), f"a value of {expression}", seconds=15)


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_variable_has_choices(variable: dict[str, Any], prometheus_url: str) -> None:
    asked = re.fullmatch(r"label_values\((.+), (\w+)\)", substituted(variable["query"]))
    assert asked, variable["query"]
    answer = httpx.get(f"{prometheus_url}/api/v1/label/{asked[2]}/values", params={"match[]": asked[1]}, timeout=10)
    assert answer.json()["data"]


@pytest.mark.parametrize("panel", PANELS)
def test_every_panel_explains_itself_and_uses_the_chosen_data_source(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_queries_stand_on_metrics_that_exist_and_no_metric_is_left_unseen() -> None:
    targets = [target for board in BOARDS.values() for p in board["panels"] for target in p.get("targets", [])]
    used = {name for target in targets for name in re.findall(r"trainguard_\w+", target.get("expr", ""))}
    assert used == metric_names()


@pytest.mark.parametrize("name", BOARDS)
def test_panels_lie_side_by_side(name: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in BOARDS[name]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


def test_names_and_ids_are_unique_and_links_lead_somewhere() -> None:
    ids = [board["uid"] for board in BOARDS.values()]
    assert len(set(ids)) == len(ids)
    for board in BOARDS.values():
        numbers = [panel["id"] for panel in board["panels"]]
        assert len(set(numbers)) == len(numbers)
    linked = set(re.findall(r'"/d/([\w-]+)', json.dumps(BOARDS)))
    assert linked <= set(ids)
    assert linked


def test_the_provisioned_data_source_is_scraped_as_often_as_it_says() -> None:
    """Grafana makes ``$__rate_interval`` of it: said too short, every rate would be empty."""
    source = provisioned("datasources", "prometheus")["datasources"][0]
    scraped = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraped
    assert (source["type"], source["isDefault"]) == ("prometheus", True)


def test_the_provisioned_dashboards_cannot_be_changed_in_grafana() -> None:
    (provider,) = provisioned("dashboards", "trainguard")["providers"]
    assert provider["allowUiUpdates"] is False


def test_the_provisioned_database_is_the_plugin_that_the_panels_ask_and_holds_no_password() -> None:
    (source,) = provisioned("datasources", "postgresql")["datasources"]
    asked = {
        panel["datasource"]["type"] for board in BOARDS.values() for panel in board["panels"] if "targets" in panel
    }
    assert asked == {"prometheus", source["type"]}
    assert source["secureJsonData"] == {"password": "$__file{/run/secrets/database_reader_password}"}


def provisioned(kind: str, name: str) -> dict[str, Any]:
    """What Grafana is told at its start by one file."""
    path = DASHBOARDS / "grafana" / "provisioning" / kind / f"{name}.yml"
    answer: dict[str, Any] = yaml.safe_load(path.read_text())
    assert answer["apiVersion"] == 1
    return answer
