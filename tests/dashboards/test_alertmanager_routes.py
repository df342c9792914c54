"""Alertmanager's file: valid, routes as meant, and a symptom stays quiet beside its cause."""

import doctest
import json
import re
import subprocess
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from dashboards.alertmanager import alert_sink
from dashboards.alertmanager.alert_sink import listen
from tests.dashboards.monitoring_servers import ALERTMANAGER, alertmanager, poll, program
from tests.dashboards.test_prometheus_rules import ALERTS, MONITORING_PAGE

CONFIG = ALERTMANAGER / "alertmanager.yml"
TEMPLATES = ALERTMANAGER / "templates" / "*.tmpl"
SEVERITY = {rule["alert"]: rule["labels"]["severity"] for rule in ALERTS}


def amtool(*arguments: str) -> str:
    done = subprocess.run([program("amtool"), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_the_configuration_is_valid() -> None:
    assert "SUCCESS" in amtool("check-config", str(CONFIG))


@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "people"), ("warning", "people"), ("info", "dashboard-only")]
)
def test_who_is_told(severity: str, receiver: str) -> None:
    said = amtool("config", "routes", "test", f"--config.file={CONFIG}", f"severity={severity}", "about=run")
    assert said == receiver


def test_inhibitions_name_only_alerts_that_exist() -> None:
    matchers = [
        matcher
        for rule in yaml.safe_load(CONFIG.read_text())["inhibit_rules"]
        for matcher in (*rule["source_matchers"], *rule["target_matchers"])
        if matcher.startswith("alertname")
    ]
    named = {name for matcher in matchers for name in matcher.split('"')[1].split("|")}
    assert named <= set(SEVERITY)


def alert(name: str, run: str | None, **labels: str) -> dict[str, Any]:
    about = {"about": "run", "project": "demo", "run": run, "run_id": run} if run else {"about": "service"}
    return {"labels": {"alertname": name, "severity": SEVERITY[name], **about, **labels}}


# (what fires beside one another, and which of them are not told)
CASES = {
    "an escalation speaks for what led to it": (
        [alert("TrainguardEscalated", "a"), alert("TrainguardDivergence", "a"), alert("TrainguardPlateau", "b")],
        {("TrainguardDivergence", "a")},
    ),
    "a divergence speaks for its spikes": (
        [alert("TrainguardDivergence", "a"), alert("TrainguardGradExplosion", "a")],
        {("TrainguardGradExplosion", "a")},
    ),
    "another run's cause hides nothing": (
        [alert("TrainguardDivergence", "a"), alert("TrainguardGradExplosion", "b")],
        set(),
    ),
    "a lost loss speaks for the rest": (
        [alert("TrainguardLossNotFinite", "a"), alert("TrainguardNonFinite", "a")],
        {("TrainguardNonFinite", "a")},
    ),
    "a dead service speaks for all runs": (
        [
            alert("TrainguardServiceDown", None, job="trainguard"),
            alert("TrainguardRunSilent", "a"),
            alert("TrainguardNotificationsFailing", None, job="trainguard"),
        ],
        {("TrainguardRunSilent", "a"), ("TrainguardNotificationsFailing", None)},
    ),
    "losing data and escalating are two things to know": (
        [alert("TrainguardEscalated", "a"), alert("TrainguardObservationsLost", "a")],
        set(),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_symptom_is_quiet_beside_its_cause(case: str, tmp_path: Path) -> None:
    alerts, quiet = CASES[case]
    with alertmanager(tmp_path, "http://127.0.0.1:9/") as address:
        url = f"http://{address}/api/v2/alerts"
        assert httpx.post(url, json=alerts, timeout=10).status_code == 200

        def muted() -> set[tuple[str, str | None]] | None:
            known = httpx.get(url, timeout=10).json()
            if len(known) < len(alerts) or any(one["status"]["state"] == "unprocessed" for one in known):
                return None
            found = {
                (one["labels"]["alertname"], one["labels"].get("run")) for one in known if one["status"]["inhibitedBy"]
            }
            return found if found == quiet else None

        # An empty set is falsy, so the answer travels in a tuple.
        poll(lambda: (found,) if (found := muted()) is not None else None, f"muted: {quiet}", seconds=20)


def told(state: str, what: str) -> dict[str, Any]:
    annotations = {"summary": f"{what} happened.", "description": "Look at it.", "link": f"http://page/{what}"}
    return {"status": state, "labels": {"alertname": what}, "annotations": annotations}


@pytest.mark.parametrize(
    ("states", "title", "text"),
    [
        (["firing"], "a happened.", "a happened. Look at it.\nhttp://page/a"),
        (["resolved"], "Over: a happened.", "Over: a happened.\nhttp://page/a"),
        (
            ["firing", "resolved"],
            "a happened. (alerts: 2)",
            "a happened. Look at it.\nhttp://page/a\nOver: b happened.\nhttp://page/b",
        ),
    ],
)
def test_the_texts_are_sentences_for_people(states: list[str], title: str, text: str, tmp_path: Path) -> None:
    alerts = [told(state, what) for state, what in zip(states, "ab")]
    notification = tmp_path / "notification.json"
    notification.write_text(json.dumps({"status": states[0], "alerts": alerts}))

    def rendered(name: str) -> str:
        template = f'--template.text={{{{ template "trainguard.{name}" . }}}}'
        return amtool("template", "render", f"--template.glob={TEMPLATES}", template, f"--template.data={notification}")

    assert rendered("title") == title
    assert rendered("text") == text


def test_the_receivers_in_the_docs_are_valid(tmp_path: Path) -> None:
    (example,) = re.findall(
        r"```yaml\n(receivers:.*?)```", MONITORING_PAGE.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    config = yaml.safe_load(CONFIG.read_text()) | yaml.safe_load(example) | {"templates": [str(TEMPLATES)]}
    (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(config))
    assert "SUCCESS" in amtool("check-config", str(tmp_path / "alertmanager.yml"))


def test_the_sink_prints_a_line_and_refuses_rubbish(capsys: pytest.CaptureFixture[str]) -> None:
    with listen("127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        try:
            assert httpx.get(url).status_code == 200
            assert httpx.post(url, content=b"{").status_code == 400
            assert httpx.post(url, content=b"[]").status_code == 400
            assert httpx.post(url, content=b"x" * (1 << 21)).status_code == 413
            told = {"status": "firing", "labels": {"alertname": "A"}, "annotations": {"summary": "It burns."}}
            assert httpx.post(url, json={"alerts": [told]}).status_code == 200
        finally:
            server.shutdown()
            thread.join(timeout=10)
    assert capsys.readouterr().out == "firing    A: It burns.\n"
    assert doctest.testmod(alert_sink).failed == 0
