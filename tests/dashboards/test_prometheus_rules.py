"""The rule file: valid, unit-tested, documented, and standing on metrics that exist."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.dashboards.fake_exporter import metric_names
from tests.dashboards.monitoring_servers import PROMETHEUS, hastened, program

RULE_FILES = sorted((PROMETHEUS / "rules").glob("*.rules.yml"))
UNIT_TESTS = sorted((PROMETHEUS / "tests").glob("*.test.yml"))
MONITORING_PAGE = PROMETHEUS.parents[1] / "docs" / "monitoring.md"
RULES = [rule for path in RULE_FILES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(
        [program("promtool"), *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_is_valid() -> None:
    promtool("check", "config", PROMETHEUS / "prometheus.yml")


@pytest.mark.parametrize("path", RULE_FILES, ids=lambda path: path.name)
def test_the_rules_are_valid(path: Path) -> None:
    promtool("check", "rules", path)


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.name)
def test_the_rules_do_what_their_unit_tests_say(path: Path) -> None:
    promtool("test", "rules", path)


def test_hastened_rules_are_still_valid(tmp_path: Path) -> None:
    for path in RULE_FILES:
        (tmp_path / path.name).write_text(hastened(path.read_text()))
        promtool("check", "rules", tmp_path / path.name)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_speaks_to_people(rule: dict[str, dict[str, str]]) -> None:
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert rule["labels"]["about"] in {"run", "service"}
    told = {"summary", "description", "link", "runbook"}
    assert set(rule["annotations"]) == (told | {"decision"} if rule["labels"]["about"] == "run" else told)
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["runbook"] == f"docs/monitoring.md#{str(rule['alert']).lower()}"


def test_every_alert_has_a_heading_in_the_docs_and_every_heading_an_alert() -> None:
    headings = re.findall(r"^#+ (Trainguard\w+)$", MONITORING_PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(headings) == sorted(str(rule["alert"]) for rule in ALERTS)


def test_the_docs_list_every_metric_and_no_other() -> None:
    listed = re.findall(r"^\| `(trainguard_\w+)` \|", MONITORING_PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(listed) == sorted(name.removesuffix("_bucket") for name in metric_names())


def test_every_alert_is_seen_firing_in_a_unit_test() -> None:
    fired = {
        case["alertname"]
        for path in UNIT_TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test.get("alert_rule_test", [])
        if case["exp_alerts"]
    }
    assert {str(rule["alert"]) for rule in ALERTS} == fired


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_stand_on_metrics_that_exist(rule: dict[str, str]) -> None:
    used = set(re.findall(r"(?<![\w:])trainguard_(?!url)\w+", yaml.safe_dump(rule)))
    assert used <= metric_names()
