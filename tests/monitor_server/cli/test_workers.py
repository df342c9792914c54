"""`trainguard serve --workers N`: whichever process answers, the run is the same, and so is what it counts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.monitor_server import postgres
from tests.monitor_server.service import AS_JSON, DIVERGING, HEALTHY, Trainer
from trainguard.wire import Receipt

TRAINGUARD = Path(sys.executable).with_name("trainguard")
START_SECONDS = 60.0


@pytest.fixture
def address(postgres_address: str, migrated_postgres: str) -> Iterator[str]:
    yield postgres.create_database(postgres_address, "of_workers", migrated_postgres)
    postgres.drop_database(postgres_address, "of_workers")


@pytest.fixture
def service(address: str, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The supervisor of two workers, and where they serve."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRAINGUARD_")}
    with (tmp_path / "log").open("wb") as log:
        command = [str(TRAINGUARD), "serve", "--port", "0", "--workers", "2", "--database", address]
        process = subprocess.Popen(command, stderr=log, cwd=tmp_path, env=inherited)
    try:
        yield process, wait_for(process, tmp_path / "log")
    finally:
        process.terminate()
        assert process.wait(60) == 0, (tmp_path / "log").read_text()
        assert "Traceback" not in (tmp_path / "log").read_text()


def wait_for(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"serving (http://\S+) on .* with 2 workers", log.read_text())
        if found:
            # At once: nobody is refused, whoever comes early waits. Each time the kernel picks one of both.
            for _ in range(12):
                assert httpx.get(f"{found[1]}/readyz", timeout=START_SECONDS).status_code == 200
            assert listeners(found[1]) == 2
            return found[1]
        time.sleep(0.01)
    pytest.fail(f"it did not serve: {log.read_text()}")


def listeners(url: str) -> int:
    """Sockets that listen on its port, as Linux counts them: one of each worker."""
    place = f":{int(url.rpartition(':')[2]):04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[1].endswith(place) and line[3] == "0A" for line in lines)


def workers_of(process: subprocess.Popen[bytes]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(one) for one in children if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


def counted(url: str, name: str) -> float:
    page = httpx.get(f"{url}/metrics").raise_for_status().text
    return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(name))


def send(url: str, trainer: Trainer, losses: list[float]) -> Receipt:
    """Over a new connection, so that now the one worker answers and now the other."""
    envelope = trainer.steps(losses)
    answer = httpx.post(
        f"{url}/api/v1/runs/{trainer.run_id}/envelopes", content=envelope.model_dump_json(), headers=AS_JSON, timeout=30
    )
    return Receipt.model_validate_json(answer.raise_for_status().content)


def test_any_worker_serves_any_run_and_a_killed_one_is_replaced(service: tuple[subprocess.Popen[bytes], str]) -> None:
    process, url = service
    trainer = Trainer()
    described = trainer.description().model_dump_json()
    httpx.post(f"{url}/api/v1/runs", content=described, headers=AS_JSON).raise_for_status()
    receipts = [send(url, trainer, HEALTHY[start : start + 25]) for start in range(0, len(HEALTHY), 25)]

    killed, other = workers_of(process)
    os.kill(killed, signal.SIGKILL)
    receipts += [
        send_again_if_cut(url, trainer, DIVERGING[start : start + 20]) for start in range(0, len(DIVERGING), 20)
    ]
    assert [receipt.sequence for receipt in receipts] == list(range(1, len(receipts) + 1))

    run = httpx.get(f"{url}/api/v1/runs/{trainer.run_id}").raise_for_status().json()
    assert run["observations"] == len(HEALTHY) + len(DIVERGING)
    incidents = httpx.get(f"{url}/api/v1/incidents", params={"run_id": str(trainer.run_id)}).json()["incidents"]
    assert len([one for one in incidents if one["kind"] == "divergence"]) <= 1
    assert incidents
    # Every scrape says the same, whichever worker is asked, and the dead one's count is not forgotten.
    pages = {counted(url, "trainguard_envelopes_total") for _ in range(6)}
    assert pages == {float(len(receipts))}
    assert counted(url, "trainguard_run_observations_total") == len(HEALTHY) + len(DIVERGING)

    deadline = time.monotonic() + START_SECONDS
    while listeners(url) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(workers := workers_of(process)) == 2
    assert other in workers
    assert killed not in workers


def send_again_if_cut(url: str, trainer: Trainer, losses: list[float]) -> Receipt:
    """As the hook does: the same envelope again where the connection was lost before an answer."""
    envelope = trainer.steps(losses).model_dump_json()
    while True:
        try:
            answer = httpx.post(
                f"{url}/api/v1/runs/{trainer.run_id}/envelopes", content=envelope, headers=AS_JSON, timeout=30
            )
        except httpx.HTTPError:
            time.sleep(0.05)
            continue
        return Receipt.model_validate_json(answer.raise_for_status().content)


def test_on_sqlite_one_process_serves(tmp_path: Path) -> None:
    command = [
        str(TRAINGUARD),
        "serve",
        "--port",
        "0",
        "--workers",
        "2",
        "--database",
        f"sqlite:///{tmp_path / 'x.db'}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 2
    assert "a file has one writer: leave --workers at 1, or name a PostgreSQL" in done.stderr
    assert "Traceback" not in done.stderr
