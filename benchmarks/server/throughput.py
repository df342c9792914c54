"""How much one service takes, and how soon it answers at half of that."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from benchmarks.server.envelopes import run_ids
from benchmarks.server.load import Phase, Plan
from benchmarks.server.services import Service, postgres_cpu_seconds
from monitor_server.pipeline import register_run
from monitor_server.storage import Database
from monitor_server.storage.tables import observations
from trainguard.wire import RunDescription

WARM = Phase("warm", 0.0, rounds=2)
"""The first envelope of a run has its attempt to write and detectors to make; what follows is the daily bread."""


SEED = 7
WINDOWS = 3
"""Stretches of full load, and then of half of it; the median one counts, and the report tells of each. A hitch of the
machine, which others use too, falls into one of them: a window's p99 is made by its thirty slowest answers.
"""


class Load:
    """A load generator in its own process; phases run when asked for."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def answer(self) -> dict[str, Any]:
        """The next line it prints."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load generator ended: {self._process.wait()}")
        told: dict[str, Any] = json.loads(line)
        return told

    def phase(self, rate: float | None = None) -> dict[str, Any]:
        """Run the next phase, at another ``rate`` than planned if one is given; what came of it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(rate)}\n")
        self._process.stdin.flush()
        return self.answer()


@contextlib.contextmanager
def loading(plan: Plan) -> Iterator[Load]:
    """A load generator that has its envelopes ready, until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.json"
        path.write_text(plan.written())
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.server.load", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            load = Load(process)
            load.answer()
            yield load
        finally:
            process.kill()
            process.wait()


def measured(load: Load, service: Service, postgres: str | None, rate: float | None = None) -> dict[str, Any]:
    """Run the next phase, and add what the service and its database used."""
    cpu, database_cpu = service.cpu_seconds(), postgres_cpu_seconds(postgres) if postgres else 0.0
    told = load.phase(rate)
    told["service_cpu_seconds"] = service.cpu_seconds() - cpu
    told["database_cpu_seconds"] = postgres_cpu_seconds(postgres) - database_cpu if postgres else 0.0
    told["per_second"] = told["observations"] / told["seconds"]
    told["per_cpu_second"] = told["observations"] / told["service_cpu_seconds"]
    told["memory_mib"] = service.memory_mib()
    return told


def enlist(address: str, runs: Sequence[UUID]) -> None:
    """Make runs known, as their registrations would."""
    database = Database(address)
    try:
        with database.write() as connection:
            for number, run_id in enumerate(runs):
                told = RunDescription(run_id=run_id, run=f"run-{number}", project="load", mode="act", started_at=1.0)
                register_run(connection, told, time.time())
    finally:
        database.close()


def stored(address: str) -> int:
    """Observations in the database."""
    database = Database(address)
    try:
        with database.read() as connection:
            return int(connection.execute(select(func.count()).select_from(observations)).scalar_one())
    finally:
        database.close()


def run(
    service: Service, address: str, *, postgres: str | None, seconds: float, runs: int, envelopes: int
) -> dict[str, Any]:
    """Full load, then half of it, each in windows; and whether exactly what was acknowledged is in the database."""
    enlist(address, run_ids(runs, seed=SEED))
    windows = [Phase(name, seconds / WINDOWS * 2) for name in ("full", "half") for _ in range(WINDOWS)]
    plan = Plan(service.port, SEED, runs, envelopes, [WARM, *windows])
    with loading(plan) as load:
        load.phase()
        fulls = [measured(load, service, postgres) for _ in range(WINDOWS)]
        at_full = sorted(fulls, key=lambda full: float(full["per_second"]))[WINDOWS // 2]
        rate = at_full["envelopes"] / at_full["seconds"] / 2
        halves = [measured(load, service, postgres, rate=rate) for _ in range(WINDOWS)]
    acknowledged = halves[-1]["acknowledged_in_all"]
    at_half = sorted(halves, key=lambda half: float(half["p99_ms"]))[WINDOWS // 2]
    return {
        "full": at_full,
        "full_per_second": [full["per_second"] for full in fulls],
        "half": at_half,
        "half_p99_ms": [half["p99_ms"] for half in halves],
        "acknowledged": acknowledged,
        "stored": stored(address),
    }
