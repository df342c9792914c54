"""Start the real Prometheus and Alertmanager on free ports, with this project's own configuration.

Only addresses and times are changed: `hastened` lets the rules' film run thirty times as fast.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import yaml

DASHBOARDS = Path(__file__).parents[2] / "dashboards"
PROMETHEUS = DASHBOARDS / "prometheus"
ALERTMANAGER = DASHBOARDS / "alertmanager"

Answer = TypeVar("Answer")


def program(*names: str) -> str:
    """The path of the first of these programs that is installed; skips the test where none is.

    In CI a missing program fails: a test that silently skips everywhere tests nothing.
    """
    for name in names:
        if path := shutil.which(name):
            return path
    reason = f"{names[0]} is not installed (on Debian: apt install prometheus prometheus-alertmanager)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def poll(question: Callable[[], Answer | None], what: str, seconds: float = 60) -> Answer:
    """Ask until there is a truthy answer; fails with ``what`` was awaited after ``seconds``."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        with contextlib.suppress(httpx.TransportError):
            if answer := question():
                return answer
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {seconds:.0f} s")
        pause.wait(0.2)


def hastened(rules: str) -> str:
    """Rules whose minutes last two seconds, so that a test need not wait five minutes for an alert to end.

    >>> hastened("rate(x[5m]) for: 1h [30m] offset 30m")
    'rate(x[10s]) for: 120s [60s] offset 60s'
    """

    def shorter(found: re.Match[str]) -> str:
        return f"{int(found[1]) * (2 if found[2] == 'm' else 120)}s"

    return re.sub(r"(?<=\[|\s)(\d+)([mh])\b", shorter, rules)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _running(command: list[str], folder: Path, ready: str) -> Iterator[None]:
    """Run a server until the block ends; its output is shown where it does not come up."""
    log = folder / "output.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    def answers() -> bool:
        if process.poll() is not None:
            pytest.fail(f"{command[0]} ended with {process.returncode}:\n{log.read_text()[-3000:]}")
        return httpx.get(ready, timeout=2).status_code == 200

    try:
        poll(answers, f"{command[0]} ready")
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=20)


@contextlib.contextmanager
def prometheus(folder: Path, target: str, alertmanager: str | None = None) -> Iterator[str]:
    """A Prometheus that scrapes ``target`` (host:port) every two seconds; yields its URL."""
    executable = program("prometheus")
    config: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    # A scrape that is late has failed, and every gauge of that moment is gone: on a busy machine a second is short.
    config["global"].update(scrape_interval="2s", scrape_timeout="2s", evaluation_interval="1s")
    job = next(job for job in config["scrape_configs"] if job["job_name"] == "trainguard")
    job["static_configs"] = [{"targets": [target]}]
    config["scrape_configs"] = [job]
    config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [alertmanager]}]}] if alertmanager else []
    rules = folder / "rules"
    rules.mkdir(parents=True)
    for path in (PROMETHEUS / "rules").glob("*.rules.yml"):
        (rules / path.name).write_text(hastened(path.read_text()))
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        executable,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--rules.alert.resend-delay=1s",
    ]
    url = f"http://127.0.0.1:{port}"
    with _running(command, folder, f"{url}/-/ready"):
        yield url


@contextlib.contextmanager
def alertmanager(folder: Path, webhook: str, *, one_by_one: bool = False) -> Iterator[str]:
    """An Alertmanager that tells ``webhook`` within a second; yields its host:port.

    A run's alerts are told together, so that one of them is repeated when another joins; not so ``one_by_one``.
    """
    executable = program("prometheus-alertmanager", "alertmanager")
    config: dict[str, Any] = yaml.safe_load((ALERTMANAGER / "alertmanager.yml").read_text())
    config["route"].update(group_wait="1s", group_interval="1s")
    if one_by_one:
        config["route"]["group_by"].append("alertname")
    people = next(receiver for receiver in config["receivers"] if receiver["name"] == "people")
    people["webhook_configs"][0]["url"] = webhook
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        executable,
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with _running(command, folder, f"http://127.0.0.1:{port}/-/ready"):
        yield f"127.0.0.1:{port}"


def instant_query(url: str, expression: str) -> list[dict[str, Any]]:
    """The series of an instant query at Prometheus ``url``; fails with Prometheus' own words on a bad one."""
    return _result(httpx.get(f"{url}/api/v1/query", params={"query": expression}, timeout=10))


def range_query(url: str, expression: str, *, seconds: int = 30) -> list[dict[str, Any]]:
    """The series of a query over the last ``seconds``, a point each second."""
    now = time.time()
    window = {"query": expression, "start": str(now - seconds), "end": str(now), "step": "1"}
    return _result(httpx.get(f"{url}/api/v1/query_range", params=window, timeout=10))


def _result(answer: httpx.Response) -> list[dict[str, Any]]:
    body = answer.json()
    assert body["status"] == "success", f"{body.get('error')}\n{answer.request.url}"
    result: list[dict[str, Any]] = body["data"]["result"]
    return result
