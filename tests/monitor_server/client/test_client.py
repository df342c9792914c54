"""The Python client, over a service that really runs; the documentation's example is one of the tests."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from monitor_server.client import Client, NotAllowed, NotFound, NotTrainguard, Refused, Unreachable, frames
from monitor_server.settings import Settings
from tests.monitor_server.running import Running
from tests.monitor_server.service import DIVERGING, HEALTHY, Trainer
from trainguard.wire import Evaluation, Halt, LowerLearningRate

PAGE = Path(__file__).parents[3] / "docs" / "client.md"


@pytest.fixture
def running(tmp_path: Path, migrated_sqlite: Path) -> Iterator[Running]:
    path = tmp_path / "trainguard.db"
    shutil.copyfile(migrated_sqlite, path)
    started = Running(Settings(database=f"sqlite:///{path}"))
    yield started
    started.stop()


@pytest.fixture
def client(running: Running) -> Iterator[Client]:
    with Client(running.address) as client:
        yield client


def test_the_example_of_the_documentation_runs(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    running.train(Trainer(mode="advise"), HEALTHY, DIVERGING)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(compile(code, str(PAGE), "exec"), {"server": running.address})
    said = capsys.readouterr().out
    assert "char-gpt 339" in said
    assert "connected" in said
    assert "no run is called 'nobody'" in said
    (incident,) = running.client.get("/incidents?kind=divergence").json()["incidents"]
    assert incident["acknowledged_by"] == "ada"
    assert "ada declined" in incident["outcome"]


def test_numbers_come_as_a_frame_or_as_columns(
    running: Running, client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    running.train(trainer := Trainer(), (1.0, math.nan, math.inf))
    frame = client.observations(trainer.run_id, ["loss", "grad_norm"])
    assert list(frame.columns) == ["attempt", "step", "observed_at", "loss", "grad_norm"]
    assert frame["loss"].iloc[0] == 1.0
    assert math.isnan(frame["loss"].iloc[1])
    assert frame["grad_norm"].isna().all()
    assert client.chart("char-gpt", points=10)["loss_max"].iloc[0] == 1.0
    written = client.export("char-gpt", tmp_path / "out.csv")
    with written.open(newline="") as file:
        assert [row["loss"] for row in csv.DictReader(file)] == ["1.0", "NaN", "Infinity"]
    fewer = client.export("char-gpt", tmp_path / "out.jsonl", attempt=0, from_step=1, to_step=2, every=2)
    assert [json.loads(line)["step"] for line in fewer.read_text().splitlines()] == [2]
    with pytest.raises(ValueError, match=r"name a file .csv or .jsonl"):
        client.export("char-gpt", tmp_path / "out.parquet")

    def without(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(frames.importlib, "import_module", without)
    columns = client.observations("char-gpt")
    assert columns["step"] == [0, 1, 2]
    assert columns["loss"][0] == 1.0


def test_runs_are_read_page_by_page(running: Running, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor_server.client.client.PAGE", 2)
    for name in ("a", "b", "c", "d", "e"):
        running.train(Trainer(run=name, tags={"task": "gpt"}))
    assert [one.run for one in client.runs(sort="name", ascending=True)] == ["a", "b", "c", "d", "e"]
    assert len(client.runs(limit=3, tags=["task=gpt"], state="running", search="a")) == 3
    client.annotate("b", archived=True, tags={"x": "y"})
    assert [one.run for one in client.runs(archived="only")] == ["b"]
    assert client.run(client.runs(name="c")[0]).description.tags == {"task": "gpt"}


def test_a_person_acts_through_it(running: Running, client: Client) -> None:
    trainer = Trainer(mode="advise")
    running.train(trainer, HEALTHY, DIVERGING)
    (incident,) = client.incidents(run="char-gpt", kind="divergence")
    detail = client.approve(incident.incident_id, by="ada")
    assert detail.incident.state == "recovering"
    assert [one.state for one in client.commands("char-gpt")] == ["pending"]
    with pytest.raises(Refused, match="is on its way already") as refused:
        client.command("char-gpt", Halt())
    assert (refused.value.status, refused.value.code) == (409, "command_refused")
    assert client.decisions(trainer.run_id)[-1].decided_by == "person"
    assert client.checkpoints("char-gpt")
    assert client.findings("char-gpt")
    assert client.attempts("char-gpt")[0].reason == "start"
    silence = client.silence(60, project="demo", by="ada")
    assert [one.created_by for one in client.silences()] == ["ada"]
    client.lift(silence.silence_id)
    assert client.silences() == []
    with pytest.raises(Refused) as wrong:
        client.silence(-1, project="demo")
    assert wrong.value.field_errors.keys() == {"seconds"}


def test_what_happens_is_followed_across_a_broken_connection(running: Running, client: Client) -> None:
    trainer = Trainer(mode="act")
    running.train(trainer, HEALTHY)
    followed = client.events(run="char-gpt", kinds=["command", "remark"])
    connected = next(followed)
    client.command("char-gpt", LowerLearningRate(factor=0.5))
    assert next(one for one in followed if one.kind != "progress").document["state"] == "pending"
    followed.close()  # type: ignore[attr-defined]
    again = client.events(run="char-gpt", kinds=["command"], last_event_id=connected.event_id)
    assert [next(again).kind, next(again).kind] == ["connected", "command"]


def test_what_goes_wrong_has_a_name(running: Running, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match="unknown|no incident"):
        client.incident("00000000-0000-0000-0000-000000000000")
    with pytest.raises(Unreachable, match="no service answers"), Client("http://127.0.0.1:9") as nobody:
        nobody.runs()
    with Client(running.address) as elsewhere:
        monkeypatch.setattr(elsewhere._connection, "_url", lambda path: f"{running.address}/static/page.css")
        with pytest.raises(NotTrainguard):
            elsewhere.runs()
    with pytest.raises(ValueError, match="strip it"):
        Client(running.address, "tg_a_b\n")
    monkeypatch.setattr(running.app.state.service.keeper, "_is_any", True)
    monkeypatch.setattr(running.app.state.service.keeper, "_ask_any", lambda: True)
    running.app.state.service.keeper.forget()
    with pytest.raises(NotAllowed, match="token"):
        client.runs()


def test_it_needs_no_library_of_the_service() -> None:
    code = (
        "import sys\n"
        "for name in ('fastapi', 'starlette', 'sqlalchemy', 'uvicorn', 'typer', 'rich', 'torch', 'pandas', 'limits'):\n"
        "    sys.modules[name] = None\n"
        "import monitor_server.client\n"
        "print(monitor_server.client.__all__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_everything_that_the_service_answers_has_a_method(running: Running, client: Client) -> None:
    running.train(trainer := Trainer(mode="advise", project="team/vision"), HEALTHY, DIVERGING)
    evaluated = Evaluation(attempt=0, step=7, evaluated_at=1.0, values={"val_loss": 2.0})
    running.post(f"/runs/{trainer.run_id}/envelopes", trainer.envelope(evaluations=[evaluated])).raise_for_status()
    assert [(one.project, one.runs) for one in client.projects()] == [("team/vision", 1)]
    assert client.fleet(project="team/vision").tallies
    assert client.advice("char-gpt", task="cnn").task == "cnn"
    assert [one.step for one in client.evaluations("char-gpt")] == [7]
    assert client.layers("char-gpt").signal == "grad_norm"
    client.silence(60, project="team/vision")
    assert len(client.silences(project="team/vision")) == 1
    assert client.silences(project="another") == []
    assert [one.action for one in client.audit(actor_kind="person", limit=None)] == ["silence"]

    document = {"extends": "default", "name": "ours"}
    assert client.check_playbook(document).words
    assert client.set_playbook("team/vision", document).document["name"] == "ours"
    assert client.playbook("team/vision").document["name"] == "ours"
    assert [one.project for one in client.playbooks()] == ["team/vision"]
    client.remove_playbook("team/vision")
    with pytest.raises(NotFound):
        client.playbook("team/vision")

    first = client.create_token("ada", ["admin"])
    with Client(running.address, first.token) as signed:
        second = signed.rotate_token(first.token_id, grace_seconds=0.0)
    with Client(running.address, second.token) as signed:
        made = signed.create_token("trainer", ["ingest"], project="team/vision", seconds=60)
        signed.revoke_token(made.token_id)
        assert {one.name: one.state for one in signed.tokens()} == {"ada": "active", "trainer": "revoked"}


ROUTES = {
    "GET runs": "runs", "GET runs/{run_id}": "run", "DELETE runs/{run_id}": "delete",
    "PATCH runs/{run_id}/annotations": "annotate", "GET runs/{run_id}/advice": "advice",
    "GET runs/{run_id}/observations": "chart", "GET runs/{run_id}/observations/export": "export",
    "GET runs/{run_id}/layers": "layers", "GET runs/{run_id}/attempts": "attempts",
    "GET runs/{run_id}/findings": "findings", "GET runs/{run_id}/evaluations": "evaluations",
    "GET runs/{run_id}/checkpoints": "checkpoints", "GET runs/{run_id}/decisions": "decisions",
    "GET runs/{run_id}/acknowledgements": "answers", "GET runs/{run_id}/commands": "commands",
    "POST runs/{run_id}/commands": "command",
    "GET incidents": "incidents", "GET incidents/{incident_id}": "incident",
    "POST incidents/{incident_id}/acknowledge": "acknowledge", "POST incidents/{incident_id}/comment": "comment",
    "POST incidents/{incident_id}/approve": "approve", "POST incidents/{incident_id}/decline": "decline",
    "POST incidents/{incident_id}/resolve": "resolve",
    "GET silences": "silences", "POST silences": "silence", "DELETE silences/{silence_id}": "lift",
    "GET events": "events", "GET projects": "projects", "GET fleet": "fleet",
    "GET playbooks": "playbooks", "POST playbooks/check": "check_playbook", "GET playbooks/{project}": "playbook",
    "PUT playbooks/{project}": "set_playbook", "DELETE playbooks/{project}": "remove_playbook",
    "GET tokens": "tokens", "POST tokens": "create_token", "POST tokens/{token_id}/rotate": "rotate_token",
    "DELETE tokens/{token_id}": "revoke_token", "GET audit": "audit",
}  # fmt: skip
WITHOUT = {
    # a trainer's, and the page's
    "POST runs", "POST runs/{run_id}/envelopes", "GET session", "POST session", "DELETE session",
    # told by others: every run's answer, the export in pages, an incident's approval, incidents(run=…)
    "GET runs/{run_id}/annotations", "GET runs/{run_id}/observations/rows",
    "POST runs/{run_id}/decisions/{decision_id}/approval", "GET runs/{run_id}/incidents",
}  # fmt: skip


def test_every_route_for_people_has_a_method(running: Running) -> None:
    """A new route belongs into one of the lists, and into the client."""
    paths = httpx.get(f"{running.address}/openapi.json").json()["paths"]
    there = {
        f"{method.upper()} {path.removeprefix('/api/v1/')}"
        for path, operations in paths.items()
        if path.startswith("/api/v1/")
        for method in operations
    }
    assert there == {*ROUTES, *WITHOUT}
    assert {name for name in ROUTES.values() if not callable(getattr(Client, name, None))} == set()
