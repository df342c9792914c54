"""`trainguard incidents …`, `command`, `silence` and `token`: what a person does from a shell, on a real service."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from monitor_server.cli.program import program
from monitor_server.settings import Settings
from tests.monitor_server.running import Running
from tests.monitor_server.service import DIVERGING, HEALTHY, Trainer


@pytest.fixture
def database(tmp_path: Path, migrated_sqlite: Path) -> str:
    path = tmp_path / "trainguard.db"
    shutil.copyfile(migrated_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture
def running(database: str) -> Iterator[Running]:
    started = Running(Settings(database=database))
    yield started
    started.stop()


def ask(*arguments: str, said: str = "", **environment: str) -> tuple[int, str]:
    told = {"COLUMNS": "200", "TRAINGUARD_SERVER": "", "TRAINGUARD_TOKEN": "", **environment}
    result = CliRunner().invoke(program, arguments, env=told, input=said)
    return result.exit_code, result.output


def trouble(running: Running, mode: str) -> tuple[Trainer, str]:
    trainer = Trainer(run="gpt [small]", mode=mode)
    running.train(trainer, HEALTHY, DIVERGING)
    (incident,) = running.client.get("/incidents?kind=divergence").json()["incidents"]
    return trainer, incident["incident_id"]


def test_a_proposal_is_looked_at_and_approved_after_its_consequence_was_said(running: Running) -> None:
    trainer, incident = trouble(running, "advise")
    where = ("--server", running.address)
    assert incident[:8] in ask("incidents", *where)[1]
    status, said = ask("incidents", "show", incident[:8], *where)
    assert status == 0
    assert "Waits for a yes or no: trainguard incidents approve" in said
    assert ask("incidents", "ack", incident[:8], "--by", "ada", *where) == (0, "Acknowledged.\n")
    assert ask("incidents", "comment", incident, "The new shard?", *where) == (0, "Noted.\n")
    status, said = ask("incidents", "approve", incident[:8], *where, said="n\n")
    assert status == 1
    assert "Would do in mode act: roll back" in said
    assert "nothing was done" in said
    status, said = ask("incidents", "approve", incident[:8], "--yes", "--json", *where)
    assert json.loads(said)["incident"]["state"] == "recovering"
    said = ask("incidents", "show", incident, *where)[1]
    assert "Seen by ada." in said
    assert "a person: The new shard?" in said
    status, said = ask("command", str(trainer.run_id)[:8], "list", *where)
    assert "rollback" in said
    assert "pending" in said
    status, said = ask("incidents", "decline", incident, *where)
    assert status == 1
    assert "nothing is proposed on this incident" in said


def test_declined_and_resolved(running: Running) -> None:
    _, incident = trouble(running, "advise")
    where = ("--server", running.address)
    assert ask("incidents", "decline", incident[:8], "--comment", "Wait.", *where) == (0, "Declined.\n")
    assert ask("incidents", "resolve", incident[:8], *where) == (0, "Resolved.\n")
    status, said = ask("incidents", "resolve", incident[:8], *where)
    assert status == 1
    assert "it is resolved already" in said
    assert "no incident with an id that begins with 'zzz'" in ask("incidents", "show", "zzz", *where)[1]


def test_orders_say_their_consequence_and_go_to_the_trainer(running: Running) -> None:
    trainer = Trainer(run="gpt", mode="act")
    running.train(trainer, HEALTHY)
    where = ("--server", running.address)
    status, said = ask("command", "gpt", "rollback", "--scale", "0.5", *where, said="n\n")
    assert status == 1
    assert "gpt goes back to the confirmed checkpoint of step 0; 300 steps are lost" in said
    assert "its learning rate is multiplied by 0.5" in said
    status, said = ask("command", "gpt", "scale-rate", "0.5", *where, said="y\n")
    assert status == 0
    assert "goes from 1 to 0.5" in said
    assert f"See: trainguard command {str(trainer.run_id)[:8]} list" in said
    status, said = ask("command", "gpt", "halt", "--yes", *where)
    assert status == 1
    assert "is on its way already" in said
    status, said = ask("audit", "--run", "gpt", *where)
    assert status == 0
    assert "a person (person)" in said
    assert "scale learning rate (factor 0.5)" in said
    receipt = running.post(f"/runs/{trainer.run_id}/envelopes", trainer.envelope()).json()
    assert receipt["commands"][0]["orders"] == [{"action": "scale_learning_rate", "factor": 0.5}]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody", "halt", "--yes"], "no run called 'nobody'"),
        (
            ["gpt", "rollback", "--checkpoint", "zz"],
            "no checkpoint of this run with an id that begins with 'zz'; it has",
        ),
        (["gpt", "send", "explode", "--yes"], "'explode' is no action; known are"),
        (["gpt", "send", "tighten_clipping", "max_norm", "--yes"], "write it like max_norm=0.5"),
        (["gpt", "send", "tighten_clipping", "max_norm=-1", "--yes"], "max_norm"),
    ],
)
def test_a_wrong_order_is_told_in_a_sentence(running: Running, arguments: list[str], words: str) -> None:
    running.train(Trainer(run="gpt", mode="act"), (1.0,))
    status, said = ask("command", *arguments, "--server", running.address)
    assert status != 0
    assert words in said
    assert "Traceback" not in said


def test_a_silence_is_begun_listed_and_lifted(running: Running) -> None:
    running.train(Trainer(run="gpt"), (1.0,))
    where = ("--server", running.address)
    assert ask("silence", "list", *where) == (0, "No silences: everybody is told.\n")
    status, said = ask(
        "silence", "add", "--run", "gpt", "--kind", "plateau", "--for", "2h", "--reason", "Known.", *where
    )
    assert status == 0
    silence = said.split()[-1]
    assert "plateau, run" in ask("silence", "list", *where)[1]
    assert ask("silence", "lift", silence, *where) == (0, "Lifted.\n")
    assert "no silence with an id" in ask("silence", "lift", silence, *where)[1]
    assert "say what to be silent about" in ask("silence", "add", *where)[1]
    assert "is no span of time" in ask("silence", "add", "--project", "x", "--for", "soon", *where)[1]


def test_from_the_first_token_on_everybody_signs_in(running: Running, database: str) -> None:
    where = ("--server", running.address)
    on = ("--database", database)
    assert "nobody has to sign in" in ask("token", "list", *on)[1]
    status, said = ask("token", "create", "ada", "--scope", "read", "--expires", "90d", "--json", *on)
    assert status == 0
    word = json.loads(said)["token"]
    running.app.state.service.keeper.forget()

    status, said = ask("runs", *where)
    assert status == 1
    assert "give one with --token or TRAINGUARD_TOKEN" in said
    assert ask("runs", *where, TRAINGUARD_TOKEN=word)[0] == 0
    status, said = ask("silence", "add", "--project", "demo", *where, "--token", word)
    assert status == 1
    assert "it takes scope command, and this one has read" in said

    status, said = ask("token", "rotate", "ada", "--grace", "0", *on)
    renewed = said.split()[-1]
    running.app.state.service.keeper.forget()
    assert ask("runs", *where, "--token", word)[0] == 1
    assert ask("runs", *where, "--token", renewed)[0] == 0
    assert ask("token", "revoke", renewed, *on)[0] == 0
    running.app.state.service.keeper.forget()
    assert "was revoked" in ask("runs", *where, "--token", renewed)[1]
    status, said = ask("token", "list", *on)
    assert all(word in said for word in ("ada", "read", "revoked"))
    assert renewed not in said
    assert "no token called 'grace'" in ask("token", "revoke", "grace", *on)[1]
    assert (
        "'write' is no scope; known are ingest, read, command, admin"
        in ask("token", "create", "x", "--scope", "write", *on)[1]
    )
