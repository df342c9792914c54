"""The re-run test from a shell: over a real service to a real training, and its verdict back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import Tensor
from typer.testing import CliRunner

import client_hook
from client_hook.recovery.checkpoints import MemoryCheckpoints
from monitor_server.cli.program import program
from monitor_server.client import Client, Refused
from monitor_server.settings import Settings
from tests.client_hook.little_training import LittleTraining
from tests.monitor_server.running import Running
from trainguard.wire import RerunTest


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    started = Running(Settings(database=f"sqlite:///{tmp_path / 'trainguard.db'}"))
    yield started
    started.stop()


def ask(*arguments: str) -> tuple[int, str]:
    told = {"COLUMNS": "300", "TRAINGUARD_SERVER": "", "TRAINGUARD_TOKEN": ""}
    result = CliRunner().invoke(program, arguments, env=told)
    return result.exit_code, result.output


def test_a_person_orders_the_test_and_reads_the_verdict(running: Running) -> None:
    training = LittleTraining()
    hook = training.attach(
        run="gpt", mode="advise", server=running.address, checkpoints=MemoryCheckpoints(), checkpoint_every=10
    )
    batch = training.batch()
    where = ("--server", running.address)

    def step(spoiled: float = 1.0) -> client_hook.StepOutcome:
        nonlocal batch
        inputs, targets = training.batch()
        batch = inputs, targets * spoiled
        loss = training.gradients(batch)
        training.update()
        return hook.observe(loss)

    def again() -> Tensor:
        return training.gradients(batch)

    for _ in range(40):
        step()
    status, said = ask("command", "gpt", "rerun", "--reason", "It jumped.", *where)
    assert status == 0
    assert "waits for the trainer" in said
    # The script has given no function: refused, in words that say what to do.
    assert step().action is None
    step()
    said = ask("command", "gpt", "list", *where)[1]
    assert "rerun test (times 2): It jumped." in said
    assert "call hook.rerun_with(function)" in said

    hook.rerun_with(again)
    with Client(running.address) as client:
        ordered = client.command("gpt", RerunTest(times=3), by="ada")
        assert step(spoiled=1000.0).action == "rerun_test"
        step()
        answer = next(one for one in client.answers("gpt") if one.command_id == ordered.command_id)
        assert (answer.status, answer.changes["verdict"], answer.changes["repeats"]) == ("applied", "data", True)
        assert [one.state for one in client.commands("gpt")] == ["refused", "applied"]
        assert client.run("gpt").attempt == 0
        assert client.run("gpt").lr_scale == 1.0
        status, said = ask("audit", "--run", "gpt", *where)
        assert "rerun test (times 3)" in said
        assert "ada" in said
        assert "It is the data" in ask("command", "gpt", "list", *where)[1]
        hook.close()
        with pytest.raises(Refused, match="the run is finished"):
            client.command("gpt", RerunTest())
