"""What counts as recovered and as touched."""

from __future__ import annotations

import math
from typing import Any

import pytest

from benchmarks.recovery.scoring import Judged, judge, limit_of, standing


def _run(strategy: str = "none", seed: int = 1, **changes: Any) -> dict[str, Any]:
    account = {"deeds": [], "gave_up": "", "updates_skipped": 0, "incidents": [], **changes.pop("account", {})}
    run = {
        "strategy": strategy,
        "seed": seed,
        "final": 2.0,
        "steps": list(range(10)),
        "checksum": "a",
        "nonfinite_updates": 0,
        "account": account,
    }
    return {**run, **changes}


def _judged(run: dict[str, Any], *others: dict[str, Any], kind: str = "recoverable") -> Judged:
    twins = {"1": {"final": 2.0}, "2": {"final": 1.9}, "3": {"final": 2.01}}
    return judge("some", kind, {"twins": twins, "runs": [run, *others]}, steps=10)[0]


@pytest.mark.parametrize(
    ("final", "is_recovered"), [(2.06, True), (2.07, False), (math.nan, False), (math.inf, False), (1.0, True)]
)
def test_recovered_is_within_three_percent_of_the_twin(final: float, is_recovered: bool) -> None:
    assert _judged(_run(final=final)).is_recovered is is_recovered


def test_a_wider_spread_of_healthy_twins_is_allowed() -> None:
    assert limit_of([2.0, 2.3, 1.8]) == 2.3


def test_what_was_given_up_is_not_recovered_however_good_it_was() -> None:
    assert not _judged(_run(account={"gave_up": "halted"})).is_recovered


def test_steps_that_a_rollback_threw_away_may_be_made_again_and_no_more() -> None:
    deed = {"step": 7, "next_step": 5, "words": "rolled back"}
    allowed = _judged(_run(steps=list(range(13)), account={"deeds": [deed]}))
    assert allowed.steps_lost == 3
    assert allowed.is_recovered
    assert not _judged(_run(steps=list(range(14)), account={"deeds": [deed]})).is_recovered


def test_touched_is_a_deed_or_another_weight() -> None:
    bare = _run()
    same = _run("trainguard")
    other = _run("trainguard", checksum="b")
    acted = _run("trainguard", account={"deeds": [{"step": 3, "next_step": 4, "words": "the rate is halved"}]})
    touched = [_judged(run, bare, kind="harmless").is_touched for run in (same, other, acted)]
    assert touched == [False, True, True]


def test_a_strategy_is_added_up_by_the_kind_of_scenario() -> None:
    kinds = {"fault": "recoverable", "calm": "harmless", "dead": "structural"}
    good, bad = _run("trainguard"), _run("trainguard", seed=2, final=9.0, nonfinite_updates=2)
    result = {"twins": {"1": {"final": 2.0}, "2": {"final": 2.0}}, "runs": [good, bad]}
    judged = judge("fault", "recoverable", result, 10)
    judged += judge("calm", "harmless", {"twins": {}, "runs": [_run(), _run("trainguard", checksum="b")]}, 10)
    judged += judge("dead", "structural", {"twins": {}, "runs": [_run("trainguard")]}, 10)
    ours = standing("trainguard", judged, kinds)
    assert (ours.recovered, ours.recoverable, ours.share) == (1, 2, 0.5)
    assert (ours.touched, ours.harmless, ours.nonfinite_updates) == (1, 1, 2)
    assert ours.failures == ("fault, seed 2",)


def test_steps_lost_count_for_incidents_that_were_treated() -> None:
    incidents = [{"rung": 1, "steps_lost": 57}, {"rung": 0, "steps_lost": 0}, {"rung": 2, "steps_lost": 115}]
    judged = [_judged(_run("trainguard", account={"incidents": incidents}))]
    ours = standing("trainguard", judged, {"some": "recoverable"})
    assert ours.lost_per_incident == (57, 115)
    assert ours.median_lost == 86
