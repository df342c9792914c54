"""The service dies and comes back around an incident: the trainer's own brain acts meanwhile, and hands it over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

import client_hook
from tests.client_hook.little_training import LittleTraining
from tests.failure.served import Served

STEPS_AT_MOST = 20_000
"""A bound for what should take a few dozen; the lease is over by the clock, and steps are quick."""


def make_steps(training: LittleTraining, hook: client_hook.TrainingHook, until: Any) -> list[client_hook.StepOutcome]:
    """Train until ``until(outcomes)``."""
    outcomes: list[client_hook.StepOutcome] = []
    while not until(outcomes):
        assert len(outcomes) < STEPS_AT_MOST, "it never came"
        loss = training.gradients()
        training.update()
        outcomes.append(hook.observe(loss))
    return outcomes


def poison(training: LittleTraining) -> None:
    with torch.no_grad():
        for parameter in training.model.parameters():
            parameter.add_(30 * torch.randn_like(parameter))


@pytest.fixture
def lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINGUARD_LEASE_SECONDS", "0.5")


@pytest.mark.slow
@pytest.mark.usefixtures("lease")
def test_what_the_local_brain_began_is_brought_to_its_end_by_the_service_that_came_back(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        training = LittleTraining()
        hook = training.attach(
            mode="act", checkpoints=tmp_path / "c", checkpoint_every=20, server=served.address, project="tests"
        )
        brain = hook._brain
        make_steps(training, hook, lambda made: len(made) == 60)
        assert not brain.is_in_charge
        served.kill()

        make_steps(training, hook, lambda made: brain.is_in_charge)
        poison(training)
        *_, rolled_back = make_steps(training, hook, lambda made: made and made[-1].rolled_back)
        assert rolled_back.action == "rollback"
        [begun] = brain.memory.active()
        assert brain.playbook.name == "safe"

        served.start()
        # Tried again at once and not after the pause that a service out of reach is given.
        hook._worker._pace.succeeded(0.0)
        make_steps(training, hook, lambda made: not brain.memory.active())
        assert not brain.is_in_charge
        assert brain.memory.rung("instability") == 1, "handed over, and what was tried is not forgotten"
        assert not any(one.incident_id == begun.incident_id for one in brain.memory.incidents)

        at = f"{served.address}/api/v1/runs/{hook.run_id}"

        def is_over() -> bool:
            told = httpx.get(f"{at}/incidents", timeout=30).json()["incidents"]
            return any(one["incident_id"] == str(begun.incident_id) and one["state"] == "resolved" for one in told)

        make_steps(training, hook, lambda made: len(made) % 50 == 49 and is_over())
        make_steps(training, hook, lambda made: hook.lr_scale == 1.0)
        hook.close()
        incidents = httpx.get(f"{at}/incidents").json()["incidents"]
        acknowledged = httpx.get(f"{at}/acknowledgements").json()["acknowledgements"]
        run = httpx.get(at).json()
    [incident] = [one for one in incidents if one["incident_id"] == str(begun.incident_id)]
    assert (incident["brain"], incident["state"], incident["rung"]) == ("server", "resolved", 1)
    assert incident["outcome"].startswith("Recovered: ")
    assert incident["cause"] == "passing"
    assert (run["rollbacks"], run["attempt"]) == (1, 1)
    revisions = [one["revision"] for one in acknowledged if one["status"] == "applied"]
    assert sorted(revisions) == list(range(1, len(revisions) + 1)), "one brain at a time, every command once"
    assert len({one["command_id"] for one in acknowledged}) == len(acknowledged)
