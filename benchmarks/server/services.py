"""What is measured: a `trainguard serve` of its own process, and what its processes have used so far."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from examples.char_gpt.service import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
SERVE = Path(__file__).with_name("serve.py")
"""Run as a file, so that PYTHONPATH decides whose trainguard it is and not the folder it was started from."""
COMPILED = REPOSITORY / ".venv" / "compiled"
"""Where `make compiled` puts the package whose detectors are machine code."""

START_SECONDS = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Service:
    """A running service."""

    process: subprocess.Popen[bytes]
    port: int
    started_in: float
    """Seconds from the start of the process to the first 200 of /readyz."""

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """Of all its processes so far."""
        return sum(_cpu_seconds(pid) for pid in family(self.process.pid))

    def memory_mib(self) -> float:
        """Resident, of all its processes; pages they share are counted for each."""
        return sum(_resident(pid) for pid in family(self.process.pid)) / 2**20


@contextlib.contextmanager
def serving(database: str, log: Path, *options: str, port: int | None = None, **variables: str) -> Iterator[Service]:
    """A service over ``database`` until the block ends."""
    service = start(database, log, *options, port=port, **variables)
    try:
        yield service
    finally:
        stop(service)


def start(database: str, log: Path, *options: str, port: int | None = None, **variables: str) -> Service:
    """Start a service and wait until it is ready."""
    port = port or free_port()
    workers = int(options[options.index("--workers") + 1]) if "--workers" in options else 1
    began = time.perf_counter()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, str(SERVE), "--database", database, "--port", str(port), *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **variables},
        )
    while True:
        with contextlib.suppress(httpx.HTTPError):
            is_ready = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5.0).status_code == 200
            if is_ready and _listeners(port) >= workers:
                return Service(process, port, time.perf_counter() - began)
        if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
            process.kill()
            raise RuntimeError(f"the service did not start: {log.read_text()[-2000:]}")
        time.sleep(0.01)


def _listeners(port: int) -> int:
    """Sockets that listen on the port: one of each worker."""
    lines = [line.split() for line in _read(Path("/proc/net/tcp")).splitlines()[1:]]
    return sum(line[1].endswith(f":{port:04X}") and line[3] == "0A" for line in lines)


def stop(service: Service) -> None:
    """Ask it to end, and make it."""
    service.process.send_signal(signal.SIGTERM)
    try:
        service.process.wait(40)
    except subprocess.TimeoutExpired:
        for pid in family(service.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        service.process.wait(10)


def family(pid: int) -> list[int]:
    """A process and all that come from it, as far as they live."""
    children = [int(one) for task in Path(f"/proc/{pid}/task").glob("*/children") for one in _read(task).split()]
    return [pid, *(one for child in children for one in family(child))]


def _cpu_seconds(pid: int) -> float:
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS if fields else 0.0


def _resident(pid: int) -> int:
    fields = _read(Path(f"/proc/{pid}/statm")).split()
    return int(fields[1]) * _PAGE if fields else 0


def postgres_cpu_seconds(address: str) -> float:
    """Of every process of the PostgreSQL at ``address`` so far; 0 where it cannot be told."""
    port = address.rpartition(":")[2]
    for place in Path("/proc").glob("[0-9]*"):
        if f"port={port}".encode() in _read_bytes(place / "cmdline"):
            own = int(place.name)
            # The children that have ended are counted by their parent.
            fields = _read(place / "stat").rpartition(")")[2].split()
            ended = (int(fields[13]) + int(fields[14])) / _TICKS if fields else 0.0
            return ended + sum(_cpu_seconds(pid) for pid in family(own))
    return 0.0


def _read(path: Path) -> str:
    return _read_bytes(path).decode(errors="replace")


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
