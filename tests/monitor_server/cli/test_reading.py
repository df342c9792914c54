"""`trainguard runs` and `trainguard incidents`, over a service that really runs."""

from __future__ import annotations

import json
import math
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path

import httpx
import pytest
import uvicorn
from rich.console import Console
from typer.testing import CliRunner

from monitor_server.app import create_app
from monitor_server.cli.printing import tell_runs
from monitor_server.cli.program import program
from monitor_server.settings import Settings
from tests.monitor_server.service import AS_JSON, DIVERGING, HEALTHY, Trainer
from trainguard import __version__


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    config = uvicorn.Config(
        create_app(Settings(database=f"sqlite:///{tmp_path / 'x.db'}")), log_config=None, lifespan="on"
    )
    running = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join(30)


@pytest.fixture
def told(server: str) -> Trainer:
    """A run in trouble, as the server knows it."""
    trainer = Trainer(run="[bold]gpt", total_steps=1000)
    with httpx.Client(base_url=f"{server}/api/v1", headers=AS_JSON, timeout=30) as client:
        client.post("/runs", content=trainer.description().model_dump_json()).raise_for_status()
        for losses in (HEALTHY, DIVERGING, [math.nan]):
            envelope = trainer.steps(losses, checkpoints=[trainer.checkpoint(100)])
            client.post(f"/runs/{trainer.run_id}/envelopes", content=envelope.model_dump_json()).raise_for_status()
    return trainer


def ask(*arguments: str, width: str = "200") -> tuple[int, str]:
    result = CliRunner().invoke(program, arguments, env={"COLUMNS": width, "TRAINGUARD_SERVER": ""})
    return result.exit_code, result.output


def test_runs_are_listed_with_what_is_the_matter(server: str, told: Trainer) -> None:
    status, said = ask("runs", "--server", server)
    assert status == 0
    [line] = [line for line in said.splitlines() if "gpt" in line]
    assert line.split()[:8] == ["[bold]gpt", "demo", str(told.run_id)[:8], "running", "340", "0", "nan", "1"]
    assert "recovering divergence" in line


def test_incidents_are_listed_with_what_was_done(server: str, told: Trainer) -> None:
    for arguments in (
        ["incidents"],
        ["incidents", "--run-id", str(told.run_id)],
        ["incidents", "--state", "recovering"],
    ):
        status, said = ask(*arguments, "--server", server)
        assert status == 0
        assert "divergence" in said
        assert "Roll back to the confirmed checkpoint of step 100" in " ".join(said.split())
    assert ask("incidents", "--state", "resolved", "--server", server) == (0, "No incidents.\n")


def test_json_is_what_the_service_said(server: str, told: Trainer) -> None:
    status, said = ask("runs", "--json", "--server", server)
    assert status == 0
    [run] = json.loads(said)["runs"]
    assert (run["run_id"], run["loss"]) == (str(told.run_id), "NaN")
    status, said = ask("incidents", "--json", "--server", server)
    assert {one["state"] for one in json.loads(said)["incidents"]} == {"recovering"}


def test_the_doctor_finds_a_run_by_name_id_or_beginning(server: str, told: Trainer) -> None:
    for run in ("[bold]gpt", str(told.run_id), str(told.run_id)[:8]):
        status, said = ask("doctor", run, "--server", server)
        assert status == 0
        assert said.startswith("warning checkpoints: The run may act, but takes no checkpoints")
    status, said = ask("doctor", "nobody", "--server", server)
    assert status == 1
    assert "no run called 'nobody'" in said


def test_the_doctor_says_what_is_wrong_and_what_to_do(server: str) -> None:
    groups = [{"lr": 0.5, "weight_decay": 0.01}]
    trainer = Trainer(
        run="careless", mode="advise", config={"optimizers": [{"name": "Adam", "groups": groups}], "schedulers": []}
    )
    httpx.post(f"{server}/api/v1/runs", content=trainer.description().model_dump_json(), headers=AS_JSON)
    status, said = ask("doctor", "careless", "--task", "fine-tuning", "--server", server)
    assert status == 0
    assert [line.split(":")[0] for line in said.splitlines() if not line.startswith(" ")] == [
        "warning learning_rate", "warning weight_decay", "note scheduler",
    ]  # fmt: skip
    assert "  Use AdamW" in said
    assert json.loads(ask("doctor", "careless", "--json", "--server", server)[1])["task"] is None


def test_the_doctor_is_content_with_a_usual_set_up(server: str) -> None:
    trainer = Trainer(run="usual", mode="advise")
    httpx.post(f"{server}/api/v1/runs", content=trainer.description().model_dump_json(), headers=AS_JSON)
    assert ask("doctor", "usual", "--server", server) == (0, "Nothing to say about the set-up of usual.\n")


def test_a_wrong_question_is_answered_in_the_words_of_the_service(server: str) -> None:
    status, said = ask("runs", "--state", "dreaming", "--server", server)
    assert status == 1
    assert "answered 422" in said
    status, said = ask("incidents", "--run-id", "7" * 8 + "-0000-0000-0000-" + "0" * 12, "--server", server)
    assert status == 1
    assert "answered 404" in said


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ("http://127.0.0.1:9", "start one with: trainguard serve"),
        ("127.0.0.1:8321", "write it like http://127.0.0.1:8321"),
        ("http://[::1", "no service answers"),
    ],
)
def test_a_service_that_is_not_there_is_named_with_the_remedy(server: str, words: str) -> None:
    status, said = ask("runs", "--server", server)
    assert status == 1
    assert words in said
    assert "Traceback" not in said


def test_something_else_on_the_port_is_recognised() -> None:
    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>welcome</html>")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as stranger:
        threading.Thread(target=stranger.serve_forever).start()
        try:
            status, said = ask("runs", "--server", f"http://127.0.0.1:{stranger.server_port}")
        finally:
            stranger.shutdown()
    assert status == 1
    assert "not as trainguard does" in said


def test_help_and_version_are_friendly() -> None:
    status, said = ask("--help", width="100")
    assert status == 0
    assert all(command in said for command in ("serve", "runs", "incidents"))
    assert ask("--version") == (0, f"trainguard {__version__}\n")


def test_a_narrow_terminal_still_shows_what_matters() -> None:
    run = {
        "run_id": "0" * 32, "run": "gpt " * 30, "project": "demo", "state": "finished", "step": None, "attempt": 0,
        "loss": None, "lr_scale": 0.03125, "active_incident": None, "last_seen_at": 0.0,
    }  # fmt: skip
    screen = StringIO()
    tell_runs(Console(file=screen, width=80), [run], now=60.0)
    said = screen.getvalue()
    assert all(word in said for word in ("00000000", "finished", "–", "0.03125", "1 min ago"))


@pytest.mark.parametrize(("missing", "arguments", "extra"), [("typer", [], "cli"), ("uvicorn", ["serve"], "server")])
def test_a_missing_extra_is_named(
    missing: str, arguments: list[str], extra: str, run_without: Callable[..., tuple[int, str]]
) -> None:
    status, said = run_without(missing, *arguments)
    assert status == 1
    assert said == f"trainguard: this command needs the package {missing}; run: pip install 'trainguard[{extra}]'\n"
