"""The image, as far as it can be tried without Docker: what is copied in, the wheel, the health check, no torch."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.dashboards.monitoring_servers import free_port, poll

ROOT = Path(__file__).parents[1]
PACKAGES = ("client_hook", "monitor_server", "trainguard")
DOCKERFILE = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
_, BUILD, TRAINER, FINAL = re.split(r"^FROM .*$", DOCKERFILE, flags=re.MULTILINE)
(INSTALLED,) = re.findall(r"pip install .*'\.\[([\w,]+)\]'", BUILD)


def instructions(stage: str, name: str) -> list[str]:
    """The arguments of every instruction ``name`` of a stage."""
    return re.findall(rf"^{name} +(.*)$", stage, flags=re.MULTILINE)


def test_what_is_copied_exists_and_nothing_else_is_sent_to_the_build() -> None:
    copied = {source.rstrip("/") for line in instructions(BUILD + TRAINER, "COPY") for source in line.split()[:-1]}
    assert all((ROOT / source).exists() for source in copied)
    patterns = [
        line
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert patterns[0] == "*"
    assert {pattern[1:] for pattern in patterns if pattern.startswith("!")} == copied
    assert {"pyproject.toml", "migrations", *PACKAGES} <= copied


def test_it_does_not_run_as_root_and_does_not_open_itself() -> None:
    assert instructions(FINAL, "USER") == ["10001"]
    assert instructions(FINAL, "ENTRYPOINT") == ['["trainguard"]']
    (command,) = instructions(FINAL, "CMD")
    assert json.loads(command) == ["serve", "--host", "0.0.0.0"]


def test_the_toy_trains_as_nobody_in_particular_and_its_program_is_there() -> None:
    assert instructions(TRAINER, "USER") == ["10001"]
    (command,) = instructions(TRAINER, "CMD")
    python, flag, module, *arguments = json.loads(command)
    assert (python, flag) == ("python", "-m")
    # Two steps are enough to see that its arguments are understood; the whole is in tests/examples.
    done = subprocess.run(
        [sys.executable, flag, module, "--help"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert {word for word in arguments if word.startswith("--")} <= set(re.findall(r"--\w+", done.stdout))


def test_it_is_built_with_the_versions_that_the_tests_passed_with() -> None:
    assert "--constraint constraints.txt" in BUILD
    python = re.findall(r"^FROM python:(\d+\.\d+)", DOCKERFILE, flags=re.MULTILINE)
    assert len(set(python)) == 1
    assert "torch" not in INSTALLED


class _Readiness(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """The tests need no access log."""


@pytest.fixture
def service() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), type("Readiness", (_Readiness,), {})) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join(timeout=10)


def health_check(port: int) -> int:
    """The exit status of the image's own health check, asking ``port``; a proxy in the environment must not matter."""
    (check,) = instructions(FINAL, "HEALTHCHECK")
    command = json.loads(check[check.index("[") :])
    assert command[:2] == ["python", "-c"]
    environment = {"TRAINGUARD_PORT": str(port), "http_proxy": "http://127.0.0.1:9", "PATH": ""}
    done = subprocess.run(
        [sys.executable, *command[1:]], env=environment, timeout=30, check=False, stderr=subprocess.DEVNULL
    )
    return done.returncode


def test_the_health_check_tells_ready_from_not_ready_and_from_gone(service: HTTPServer) -> None:
    assert health_check(service.server_port) == 0
    service.RequestHandlerClass.status = 503  # type: ignore[attr-defined]
    assert health_check(service.server_port) == 1
    service.shutdown()
    service.server_close()
    assert health_check(service.server_port) == 1


def image_command(*more: str) -> list[str]:
    """What the container runs, as this Python runs it."""
    (command,) = instructions(FINAL, "CMD")
    return [sys.executable, "-c", "from monitor_server.cli import main; main()", *json.loads(command), *more]


def test_the_image_alone_refuses_to_serve_everybody_and_says_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(image_command(), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "--insecure" in done.stderr


def test_the_command_of_compose_serves_becomes_healthy_and_stops_when_asked(tmp_path: Path) -> None:
    port = free_port()
    environment = {**os.environ, "TRAINGUARD_PORT": str(port), "TRAINGUARD_DATABASE": "sqlite:///trainguard.db"}
    with subprocess.Popen(
        image_command("--insecure"), cwd=tmp_path, env=environment, stderr=subprocess.PIPE
    ) as process:
        try:
            poll(lambda: httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).is_success, "the service is ready")
            assert health_check(port) == 0
            process.terminate()
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0, said.decode()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel that ``pip install .`` would make, built by the same backend."""
    pytest.importorskip("hatchling", reason="needs the build backend: pip install hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("trainguard-*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    # Beside .py files these are the page's templates and scripts, which a build by suffix would forget.
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    wanted |= {
        "monitor_server/_migrations/" + path.relative_to(ROOT / "migrations").as_posix()
        for path in (ROOT / "migrations").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == wanted


def test_an_installed_service_finds_its_migrations(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from monitor_server.storage import Database, schema\n"
        "assert schema.migrations_folder().name == '_migrations', schema.migrations_folder()\n"
        "schema.upgrade(Database('sqlite:///new.db'))\n"
    )
    run(program, tmp_path)


def run(program: str, folder: Path) -> None:
    """Run a program in a Python of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def distributions_in_the_image() -> set[str]:
    """Names of all that ``pip install 'trainguard[…]'`` of the Dockerfile brings, by the installed metadata."""
    waiting = [("trainguard", frozenset(INSTALLED.split(",")))]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            continue  # of another platform or Python: its marker is judged below, by pip it was too
        for requirement in map(Requirement, needed):
            if any(
                requirement.marker is None or requirement.marker.evaluate({"extra": extra}) for extra in (*extras, "")
            ):
                waiting.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return {name for name, _ in seen}


def test_the_service_imports_nothing_that_its_image_does_not_have(tmp_path: Path) -> None:
    present = distributions_in_the_image()
    assert {"pydantic", "fastapi", "sqlalchemy", "alembic", "psycopg", "psycopg-binary", "typer"} <= present
    assert not {"torch", "numpy", "matplotlib", "pytest"} & present
    missing = sorted(
        module
        for module, distributions in packages_distributions().items()
        if not {canonicalize_name(name) for name in distributions} & present and module not in sys.stdlib_module_names
    )
    assert "torch" in missing
    program = f"""
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys({missing!r}))
import monitor_server, psycopg, trainguard
for package in (trainguard, monitor_server):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if "._migrations" not in module.name:
            importlib.import_module(module.name)
"""
    run(program, tmp_path)
