"""The page is made from the JSON alone, and scenarios trained anew replace their former selves."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.recovery.pictures import draw
from benchmarks.recovery.report import as_markdown, facts
from benchmarks.recovery.scenarios import SCENARIOS, named
from benchmarks.recovery.scoring import Judged
from benchmarks.recovery.strategies import OURS, STRATEGIES
from benchmarks.recovery.workloads import WORKLOADS


def _judged(scenario: str, strategy: str = OURS, final: float = 2.0, **changes: Any) -> Judged:
    values: dict[str, Any] = {
        "scenario": scenario,
        "strategy": strategy,
        "seed": 1,
        "final": final,
        "healthy": 2.0,
        "limit": 2.06,
        "is_recovered": final <= 2.06,
        "is_touched": False,
        "steps_made": 457,
        "steps_lost": 57,
        "nonfinite_updates": 0,
        "updates_skipped": 0,
        "lost_per_incident": (57,),
        "deeds": ("step 256: Rolled back to the checkpoint of step 200.",),
        "gave_up": "",
    }
    return Judged(**{**values, **changes})


def _facts(judged: list[Judged], former: dict[str, Any]) -> dict[str, Any]:
    missing = {"missing": "not measured"}
    return facts(judged, former=former, timing=missing, receipt=missing, machine="here", minutes=1.0)


def test_the_page_says_where_ours_fails_and_survives_the_way_through_json() -> None:
    judged = [
        _judged("rate-x30"),
        _judged("rate-x10", final=math.nan, is_recovered=False),
        _judged("rate-x10", "none", final=2.4, is_recovered=False),
        _judged("gan", limit=math.nan, deeds=(), is_touched=False),
        _judged("structural", final=math.inf, gave_up="Every remedy was tried.", is_recovered=False),
    ]
    report = json.loads(json.dumps(_facts(judged, {}), allow_nan=False))
    page = as_markdown(report)
    assert "| trainguard | 1 of 2 | 50 % | 0 |" in page
    assert "- rate-x10, seed 1: nan where 2.060 would do." in page
    assert "Every remedy was tried." in page
    assert "| structural faults halted with a report | all | 1 of 1 |" in page


def test_a_scenario_trained_anew_replaces_only_itself() -> None:
    former = json.loads(json.dumps(_facts([_judged("rate-x30"), _judged("rate-x10", final=2.5)], {})))
    report = _facts([_judged("rate-x10", final=2.01)], former)
    finals = {one["scenario"]: one["final"] for one in report["trainings"]}
    assert finals == {"rate-x10": 2.01, "rate-x30": 2.0}


def test_a_picture_is_small(tmp_path: Path) -> None:
    run = {"seed": 1, "steps": [0, 1, 2, 1, 2], "losses": [3.0, 2.0, math.nan, 1.9, 1.8], "final": 1.8}
    result = {"twins": {"1": run}, "runs": [{**run, "strategy": name} for name in STRATEGIES]}
    path = tmp_path / "pictures" / "x.png"
    draw(named("rate-x30"), result, path)
    with Image.open(path) as picture:
        assert picture.width > 600
    assert path.stat().st_size < 60_000


def test_the_scenarios_are_those_that_were_promised() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
    assert sum(scenario.kind == "recoverable" for scenario in SCENARIOS) >= 14
    assert {scenario.kind for scenario in SCENARIOS if scenario.is_quick} == {"recoverable", "harmless", "structural"}
    for scenario in SCENARIOS:
        kind = WORKLOADS[scenario.workload]
        assert scenario.onset is None or scenario.onset < kind.steps
