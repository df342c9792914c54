"""`trainguard serve`, as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from monitor_server.storage import Database, observations
from tests.monitor_server.service import AS_JSON, Trainer

TRAINGUARD = Path(sys.executable).with_name("trainguard")

Serve = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts the command in an empty folder; whatever is left is killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRAINGUARD_")}
        process = subprocess.Popen(
            [str(TRAINGUARD), "serve", *arguments], stderr=subprocess.PIPE, text=True, cwd=tmp_path,
            env={**inherited, **environment},
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def address_of(process: subprocess.Popen[str]) -> str:
    """Where it says that it serves."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if found := re.search(r"serving (http://\S+)", line):
            return found[1]
    pytest.fail("it ended before it served:\n" + "".join(said))


def refusal(process: subprocess.Popen[str]) -> str:
    """The one line with which it gave up."""
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in said
    return said


def test_it_serves_on_a_free_port_and_drains_at_sigterm(serve: Serve, tmp_path: Path) -> None:
    process = serve("--port", "0", "--database", "sqlite:///here.db")
    trainer = Trainer()
    with httpx.Client(base_url=address_of(process), headers=AS_JSON, timeout=30) as client:
        assert client.get("/readyz").status_code == 200
        description = trainer.description().model_dump_json()
        assert client.post("/api/v1/runs", content=description).status_code == 201
        envelope = trainer.steps([2.0, 1.9]).model_dump_json()
        assert client.post(f"/api/v1/runs/{trainer.run_id}/envelopes", content=envelope).status_code == 200
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0
    database = Database(f"sqlite:///{tmp_path / 'here.db'}")
    with database.read() as connection:
        assert len(observations.read(connection, trainer.run_id)) == 2
    database.close()


def test_an_address_that_others_can_reach_needs_a_word(serve: Serve) -> None:
    said = refusal(serve("--host", "0.0.0.0", "--port", "0"))
    assert "host 0.0.0.0 can be reached by others" in said
    assert "--insecure" in said
    assert address_of(serve("--host", "0.0.0.0", "--port", "0", "--insecure")).startswith("http://127.0.0.1:")


def test_a_port_in_use_is_named(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal(serve("--port", str(port)))
    assert f"127.0.0.1 port {port}" in said
    assert "choose another with --port" in said


@pytest.mark.parametrize(
    ("database", "words"),
    [
        ("sqlite:////no/such/folder/x.db", "unable to open database file"),
        ("mysql://db/x", "names the unknown database 'mysql'; write sqlite:///file.db"),
        ("sqlite://", "in memory, which every restart would lose"),
        ("nonsense", "is not a database address"),
        ("postgresql://somebody:secret@127.0.0.1:9/x", "Connection refused"),
    ],
)
def test_a_database_that_cannot_be_used_is_named_without_its_password(serve: Serve, database: str, words: str) -> None:
    said = refusal(serve(TRAINGUARD_DATABASE=database))
    assert words in said
    assert "secret" not in said


def test_a_database_of_a_newer_version_is_left_alone(serve: Serve, migrated_sqlite: Path, tmp_path: Path) -> None:
    path = tmp_path / "newer.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    database = Database(f"sqlite:///{path}")
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    before = path.read_bytes()
    assert "a newer version made it" in refusal(serve("--database", f"sqlite:///{path}"))
    assert path.read_bytes() == before


def test_with_a_token_any_address_may_be_served(serve: Serve, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'guarded.db'}"
    made = subprocess.run(
        [str(TRAINGUARD), "token", "create", "ada", "--scope", "read", "--database", database],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert made.stdout.startswith("tg_")
    assert "This is the only time" in made.stderr
    address = address_of(serve("--host", "0.0.0.0", "--port", "0", "--database", database))
    assert httpx.get(f"{address}/api/v1/runs").status_code == 401
    bearer = {"authorization": f"Bearer {made.stdout.strip()}"}
    assert httpx.get(f"{address}/api/v1/runs", headers=bearer).status_code == 200
