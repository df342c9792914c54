"""Thresholds from a user's own runs: quieter where alarms came to nothing, never deaf to what mattered."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from monitor_server.cli.program import program
from trainguard.detectors import DETECTORS, Panel, thresholds_of
from trainguard.replay import PastRun, Settings, read_log, replay
from trainguard.replay.tuning import LOUDNESS, tune

RECORDED = Path(__file__).parent.parent / "detectors" / "recorded"


def restless(folder: Path, *, seed: int, diverges: bool = False) -> Path:
    """A run whose batches are heavy now and then, which harms nothing."""
    chance = Random(seed)
    rows = ["step,loss"]
    for step in range(1500):
        loss = 2 + 3 * (step + 1) ** -0.3 + chance.gauss(0, 0.03)
        if step % 150 == 149:
            loss += chance.uniform(0.9, 1.3)
        if diverges and step >= 1300:
            loss *= 3
        rows.append(f"{step},{loss:.5f}")
    path = folder / f"run-{seed}.csv"
    path.write_text("\n".join(rows))
    return path


@pytest.fixture
def runs(tmp_path: Path) -> list[PastRun]:
    return [read_log(restless(tmp_path, seed=1)), read_log(restless(tmp_path, seed=2, diverges=True))]


def test_alarms_that_came_to_nothing_are_tuned_away_and_the_divergence_is_not(runs: list[PastRun]) -> None:
    tuning = tune(runs)
    assert tuning.idle >= 10
    assert tuning.needed >= 1
    [proposal] = [one for one in tuning.proposals if one.thresholds]
    assert proposal.detector == "loss_spike"
    assert proposal.idle_after < proposal.idle_before / 2
    after = tuning.after[1]
    assert any(one.kind == "divergence" and one.severity == "critical" for one in after.findings)
    assert sum(len(one.findings) for one in tuning.after) < sum(len(one.findings) for one in tuning.before) / 2


def test_what_is_proposed_is_what_a_panel_takes(runs: list[PastRun]) -> None:
    overrides = tune(runs).overrides
    Panel(overrides=overrides)
    for name, thresholds in overrides.items():
        normal = thresholds_of(DETECTORS[name])
        assert all(value > normal[threshold] for threshold, value in thresholds.items())


def test_runs_that_fit_are_left_alone() -> None:
    tuning = tune([read_log(RECORDED / "healthy.csv.gz"), read_log(RECORDED / "rate_times_32.csv.gz")])
    assert tuning.overrides == {}
    assert tuning.after == tuning.before


def test_what_mattered_to_one_detector_alone_keeps_it_awake(tmp_path: Path) -> None:
    """A jump that lasts but is too small for the patient detector's critical word: only the first one spoke of it."""
    chance = Random(3)
    rows = ["step,loss"]
    for step in range(1500):
        loss = 2 + chance.gauss(0, 0.01) + (0.6 if step % 150 == 149 else 0) + (0.25 if step >= 1440 else 0)
        rows.append(f"{step},{loss:.4f}")
    path = tmp_path / "run.csv"
    path.write_text("\n".join(rows))
    [run] = runs = [read_log(path)]
    tuning = tune(runs)
    before = {one.step for one in tuning.before[0].findings if one.step >= 1440}
    after = {one.step for one in tuning.after[0].findings if one.step >= 1440}
    assert before
    assert after
    assert min(after) <= min(before) + 8
    assert len(run) == 1500


def test_told_that_all_was_well_it_takes_every_alarm_for_nothing(runs: list[PastRun]) -> None:
    tuning = tune(runs, are_healthy=True)
    assert tuning.needed == 0


def test_the_table_of_loudness_names_what_exists() -> None:
    for name, thresholds in LOUDNESS.items():
        assert set(thresholds) <= set(thresholds_of(DETECTORS[name]))


def test_the_command_says_how_to_use_it(runs: list[PastRun], tmp_path: Path) -> None:
    files = [str(run.path) for run in runs]
    told = CliRunner().invoke(program, ["tune", *files], env={"COLUMNS": "200"})
    assert told.exit_code == 0
    assert "client_hook.attach(…, detectors={'loss_spike': {" in told.stdout
    assert "trainguard replay FILE… --set loss_spike.z=" in told.stdout
    said = json.loads(CliRunner().invoke(program, ["tune", "--json", *files]).stdout)
    options = [
        option
        for name, thresholds in said["detectors"].items()
        for threshold, value in thresholds.items()
        for option in ("--set", f"{name}.{threshold}={value}")
    ]
    quiet = CliRunner().invoke(program, ["replay", "--json", files[0], *options]).stdout
    assert len(quiet.splitlines()) < len(replay(runs[0], Settings()).findings) / 2
    missing = CliRunner().invoke(program, ["tune", str(tmp_path / "none.csv")])
    assert (missing.exit_code, missing.stdout) == (1, "")
