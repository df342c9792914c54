"""What would have been found and done, and that it is what the trainer's own brain would have said."""

from __future__ import annotations

from math import nan
from pathlib import Path
from random import Random
from uuid import UUID

import pytest

from client_hook.local_brain import LocalBrain, Standing
from trainguard.replay import PastRun, Settings, read_log, replay
from trainguard.wire import DecisionReport, Finding

RECORDED = Path(__file__).parent.parent / "detectors" / "recorded"


def run_of(folder: Path, losses: list[float], *, first: int = 0) -> PastRun:
    path = folder / "run.csv"
    rows = [f"{step},{loss}" for step, loss in enumerate(losses, start=first)]
    path.write_text("\n".join(["step,loss", *rows]) + "\n")
    return read_log(path)


def healthy(count: int) -> list[float]:
    chance = Random(11)
    return [round(2.0 + chance.gauss(0, 0.03), 4) for _ in range(count)]


def test_a_rate_that_grew_by_itself_would_have_been_undone() -> None:
    result = replay(read_log(RECORDED / "rate_times_32.csv.gz"))
    assert [(one.kind, one.severity, one.onset_step) for one in result.findings][-1] == ("divergence", "critical", 300)
    [incident] = result.incidents
    act = incident.would_have_acted
    assert act is not None
    assert act.reason.startswith("Would do in mode act: roll back to the confirmed checkpoint of step 200, multiply")
    assert incident.ended_step is None
    assert incident.report.diagnosis[0].cause == "learning_rate_raised"


def test_a_spike_that_heals_is_waited_for(tmp_path: Path) -> None:
    result = replay(run_of(tmp_path, [*healthy(100), 6.0, 4.0, *healthy(40)]))
    [incident] = result.incidents
    assert (incident.report.kind, incident.report.state, incident.would_have_acted) == ("loss_spike", "resolved", None)
    assert [one.verdict for one in incident.decisions] == ["wait"]
    assert incident.ended_step is not None


def test_a_healthy_run_gives_nothing(tmp_path: Path) -> None:
    result = replay(run_of(tmp_path, healthy(300)))
    assert (result.findings, result.incidents) == ([], [])


def test_checkpoints_are_taken_to_lie_where_they_would_have(tmp_path: Path) -> None:
    run = run_of(tmp_path, [*healthy(310), *[9.0] * 30])
    # The one of step 300 was followed by ten quiet steps only when the trouble began: never confirmed.
    for every, step in ((50, 250), (100, 200), (1000, 0)):
        [incident] = replay(run, Settings(checkpoint_every=every)).incidents
        assert incident.would_have_acted is not None
        assert f"checkpoint of step {step}," in incident.would_have_acted.reason


def test_no_checkpoint_is_taken_to_be_confirmed_in_the_middle_of_a_trouble(tmp_path: Path) -> None:
    [incident] = replay(run_of(tmp_path, [*healthy(400), *[nan] * 120])).incidents
    acts = [one.reason for one in incident.decisions if one.verdict == "propose"]
    # The one of step 400 holds nothing bad, but was followed by NaN: no quiet stretch ever confirmed it.
    assert acts
    assert all("checkpoint of step 200," in reason for reason in acts)


def test_sensitivity_and_overrides_reach_the_detectors(tmp_path: Path) -> None:
    run = run_of(tmp_path, [*healthy(100), 5.0, 5.0, *healthy(40)])
    assert replay(run).findings
    assert not replay(run, Settings(overrides={"loss_spike": {"z": 1e6, "together": 1e6}})).findings
    with pytest.raises(ValueError, match="overrides names 'spike'"):
        replay(run, Settings(overrides={"spike": {"z": 1.0}}))


def test_it_says_what_the_trainers_own_brain_says() -> None:
    """One brain: the same findings and decisions as a trainer without a server, in the same words."""
    run = read_log(RECORDED / "rate_times_32.csv.gz")
    standing = Standing()
    brain = LocalBrain(run_id=UUID(int=1), mode="advise", standing=standing, clock=lambda: 0.0, has_server=False)
    found: list[Finding] = []
    decided: list[DecisionReport] = []
    for observation in run.observations():
        for message in brain.consider([observation]).messages:
            if isinstance(message, Finding):
                found.append(message)
            elif isinstance(message, DecisionReport):
                decided.append(message)
    result = replay(run)
    assert result.findings == found
    mine = [(one.step, one.verdict) for incident in result.incidents for one in incident.decisions]
    # Without a checkpoint the trainer can only escalate, where the replay is taken to have had one.
    assert mine[: len(mine) - 1] == [(one.step, one.verdict) for one in decided][: len(mine) - 1]


def test_a_log_that_ends_in_nan_is_told_to_be_lost(tmp_path: Path) -> None:
    result = replay(run_of(tmp_path, [*healthy(60), *[nan] * 20]))
    [incident] = result.incidents
    assert (incident.report.severity, incident.report.state) == ("critical", "escalated")
    assert incident.would_have_acted is not None


def test_a_log_of_every_hundredth_step_is_given_as_many_points_to_heal(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    losses = [*healthy(100), 6.0, 5.9, *healthy(60)]
    path.write_text("step,loss\n" + "".join(f"{100 * index},{loss}\n" for index, loss in enumerate(losses)))
    [incident] = replay(read_log(path)).incidents
    assert incident.would_have_acted is None
    assert incident.ended_step is not None
    assert incident.ended_step >= 10_000 + 8 * 100
