"""The panel on real trainings of the example's GPT, recorded by ``python -m benchmarks.detection.record``."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.detection.cost import kilobytes_per_run, read_signals
from benchmarks.detection.curves import Curve, read_curves
from tests.detectors.streams import alarms, feed_panel
from trainguard.detectors import Panel
from trainguard.wire import Finding

CURVES = {curve.name: curve for curve in read_curves(Path(__file__).parent / "recorded")}
SIGNALS = read_signals(Path(__file__).parent / "recorded" / "signals")
HEALTHY = [name for name, curve in CURVES.items() if not curve.events]


def said_about(name: str) -> tuple[Curve, list[Finding]]:
    return CURVES[name], alarms(feed_panel(Panel(), CURVES[name].observations))


@pytest.mark.parametrize("name", HEALTHY)
def test_it_is_quiet_where_nothing_went_wrong(name: str) -> None:
    assert not said_about(name)[1]


@pytest.mark.parametrize(
    ("name", "factor"), [("rate_times_32", 32), ("rate_times_30_early", 30), ("rate_times_30_noisy", 30)]
)
def test_a_rate_bug_is_critical_soon_and_the_evidence_says_by_how_much(name: str, factor: float) -> None:
    curve, findings = said_about(name)
    onset = curve.events[0].start

    critical = next(one for one in findings if one.severity == "critical")
    assert critical.kind == "divergence"
    assert onset - 1 <= critical.onset_step <= onset
    assert critical.step <= onset + 30
    ratio = critical.evidence["learning_rate_at"] / critical.evidence["learning_rate_before"]
    assert ratio == pytest.approx(factor, rel=0.3)
    assert findings[0].step >= onset


def test_a_rate_that_grows_slowly_is_found_as_a_drift() -> None:
    curve, findings = said_about("rate_grows")

    assert findings[0].kind == "divergence"
    assert curve.events[0].start < findings[0].step < 450
    assert "critical" in {one.severity for one in findings}


def test_targets_that_slipped_are_critical_within_ten_steps() -> None:
    curve, findings = said_about("slipped_targets")
    onset = curve.events[0].start

    critical = next(one for one in findings if one.severity == "critical")
    assert critical.onset_step == onset
    assert critical.step <= onset + 10


def test_one_bad_batch_is_a_warning_and_no_more() -> None:
    curve, findings = said_about("one_bad_batch")

    assert {one.severity for one in findings} == {"warning"}
    assert {one.onset_step for one in findings} == {curve.events[0].start}


def test_a_run_that_never_learns_has_too_small_a_step_and_is_a_plateau() -> None:
    _, findings = said_about("never_learns")

    assert [one.kind for one in findings] == ["update_ratio", "plateau"]


def test_an_overflow_is_critical_within_three_steps() -> None:
    curve, findings = said_about("overflow")
    onset = curve.events[0].start

    critical = next(one for one in findings if one.severity == "critical")
    assert critical.kind == "non_finite"
    assert onset - 1 <= critical.onset_step <= onset
    assert critical.step <= onset + 3


@pytest.mark.parametrize("name", sorted(SIGNALS))
def test_it_is_quiet_on_healthy_trainings_with_all_that_the_hook_reads(name: str) -> None:
    """Recorded by ``python -m benchmarks.detection.record_signals``: layers, norms, times, evaluations and all."""
    assert {"grad_norm", "update_ratio", "step_seconds"} <= SIGNALS[name][10].signals.keys()
    assert any("val_loss" in point.signals for point in SIGNALS[name])

    assert not feed_panel(Panel(), SIGNALS[name])
    assert not alarms(feed_panel(Panel(sensitivity="low"), SIGNALS[name]))


def test_a_panel_holds_less_than_a_tenth_of_a_megabyte() -> None:
    assert kilobytes_per_run(SIGNALS["adamw"]) < 100
