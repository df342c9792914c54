"""Command line of the service's benchmark: every part in turn, then one page of all."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import machine
from benchmarks.server import bare, charts, fleet, kills, throughput
from benchmarks.server.report import as_markdown
from benchmarks.server.services import COMPILED, serving
from tests.monitor_server import postgres

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "benchmarks" / "results"


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    seconds: float
    runs: int
    registered: int
    active: int
    chart_steps: int
    kills: int
    starts: int

    @property
    def envelopes(self) -> int:
        """Prepared for each run: enough for 1,000 envelopes a second at full load, and half of that as long."""
        return 4 + int(3 * self.seconds * 1000 / self.runs)


FULL = Size(seconds=12.0, runs=1000, registered=10_000, active=1000, chart_steps=10_000_000, kills=20, starts=5)
QUICK = Size(seconds=3.0, runs=200, registered=1000, active=100, chart_steps=500_000, kills=3, starts=2)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="some minutes instead of twenty, for a look; writes no results"
    )
    parser.add_argument("--only", default="", help="parts, with commas: " + ", ".join(PARTS))
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write server.md and .json to")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    wanted = [name for name in PARTS if not options.only or name in options.only.split(",")]
    report: dict[str, Any] = {
        "machine": machine.described(),
        "size": size.__dict__,
    }
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, _cluster() as cluster:
        for name in wanted:
            at = time.perf_counter()
            try:
                report[name] = PARTS[name](Place(Path(folder), cluster), size)
            except Exception as error:
                traceback.print_exc()
                report[name] = {"missing": f"{type(error).__name__}: {error}"}
            print(f"{name}: {time.perf_counter() - at:.0f} s", file=sys.stderr, flush=True)
    report["seconds"] = time.perf_counter() - began
    text = as_markdown(report)
    if not options.quick and not options.only:
        options.results.mkdir(parents=True, exist_ok=True)
        (options.results / "server.json").write_text(json.dumps(report, indent=1) + "\n")
        (options.results / "server.md").write_text(text)
    print(text)


@contextlib.contextmanager
def _cluster() -> Iterator[str | None]:
    """A PostgreSQL that syncs and has been in use; None where there is none."""
    try:
        with postgres.running_cluster("max_wal_size=4GB", "min_wal_size=4GB", syncs=True) as address:
            _fill_log(address)
            yield address
    except BaseException as error:
        if type(error).__name__ != "Skipped":
            raise
        yield None


LOG_SEGMENTS = 128
"""Files of 16 MiB each: more than is written until the last receipt is timed."""


def _fill_log(address: str) -> None:
    """Have PostgreSQL go through so many files of its write-ahead log, and keep them to be written again.

    A server that has been in use writes over old files. One that was just made fills a new one with zeros every few
    seconds under load, and answers no commit meanwhile.
    """
    with psycopg.connect(f"postgresql://{address}/postgres", autocommit=True) as connection:
        for _ in range(LOG_SEGMENTS):
            connection.execute("SELECT pg_logical_emit_message(false, 'trainguard', 'a file of its own')")
            connection.execute("SELECT pg_switch_wal()")
        connection.execute("CHECKPOINT")


class Place:
    """Where the databases of a part are made."""

    count = 0

    def __init__(self, folder: Path, cluster: str | None) -> None:
        self.folder = folder
        self.cluster = cluster
        self.log = folder / "service.log"

    def sqlite(self) -> str:
        """A new file."""
        Place.count += 1
        return f"sqlite:///{self.folder}/{Place.count}.db"

    def postgresql(self) -> str:
        """A new database."""
        if self.cluster is None:
            raise RuntimeError("PostgreSQL is not installed")
        Place.count += 1
        return postgres.create_database(self.cluster, f"bench_{Place.count}")


def _cold_start(place: Place, size: Size) -> dict[str, Any]:
    took = []
    for _ in range(size.starts):
        with serving(place.sqlite(), place.log) as service:
            took.append(service.started_in)
    return {"seconds": sorted(took)}


def _throughput(place: Place, size: Size) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for kind in ("sqlite", "postgresql"):
        address = getattr(place, kind)()
        cluster = place.cluster if kind == "postgresql" else None
        os.sync()  # what the one before left to be written is not to be waited for by the next
        with serving(address, place.log) as service:
            told[kind] = throughput.run(
                service, address, postgres=cluster, seconds=size.seconds, runs=size.runs, envelopes=size.envelopes
            )
        told[kind]["bare"] = _on_a_new_one(place, kind, size)
    return told


def _compiled(place: Place, size: Size) -> dict[str, Any]:
    """The first part again with the detectors that `make compiled` made."""
    if not COMPILED.exists():
        raise RuntimeError("the detectors are not compiled; run make compiled")
    told: dict[str, Any] = {}
    for kind in ("sqlite", "postgresql"):
        address = getattr(place, kind)()
        cluster = place.cluster if kind == "postgresql" else None
        os.sync()  # what the one before left to be written is not to be waited for by the next
        with serving(address, place.log, PYTHONPATH=str(COMPILED)) as service:
            told[kind] = throughput.run(
                service, address, postgres=cluster, seconds=size.seconds, runs=size.runs, envelopes=size.envelopes
            )
    return told


def _on_a_new_one(place: Place, kind: str, size: Size) -> dict[str, Any]:
    address = getattr(place, kind)()
    with serving(address, place.log):
        pass  # its schema is made by a service, as anybody's
    return bare.run(address, seconds=size.seconds / 4)


def _two_workers(place: Place, size: Size) -> dict[str, Any]:
    told = {}
    for workers in (1, 2):
        address = place.postgresql()
        with serving(address, place.log, "--workers", str(workers)) as service:
            told[f"{workers}"] = throughput.run(
                service,
                address,
                postgres=place.cluster,
                seconds=size.seconds / 2,
                runs=size.runs,
                envelopes=size.envelopes,
            )
    return told


def _fleet(place: Place, size: Size) -> dict[str, Any]:
    told = {}
    for kind in ("sqlite", "postgresql"):
        address = getattr(place, kind)()
        with serving(address, place.log) as service:
            told[kind] = fleet.run(
                service, address, registered=size.registered, active=size.active, seconds=size.seconds
            )
    return told


def _charts(place: Place, size: Size) -> dict[str, Any]:
    told = {}
    for kind in ("sqlite", "postgresql"):
        address = getattr(place, kind)()
        with serving(address, place.log) as service:
            told[kind] = charts.run(service, address, steps=size.chart_steps)
        if kind == "sqlite":
            Path(address.removeprefix("sqlite:///")).unlink()
    return told


def _kills(place: Place, size: Size) -> dict[str, Any]:
    return {
        "sqlite": kills.run(place.sqlite(), place.log, kills=size.kills),
        "postgresql, two workers": kills.run(place.postgresql(), place.log, kills=size.kills, workers=2),
    }


def _peers(place: Place, size: Size) -> dict[str, Any]:
    python = os.environ.get("BENCH_PYTHON", str(REPOSITORY / ".venv" / "bench" / "bin" / "python"))
    told = {}
    for name in ("mlflow", "trackio"):
        try:
            made = subprocess.run(
                [python, "-m", "benchmarks.server.peers", name, str(size.seconds / 2)],
                cwd=REPOSITORY,
                capture_output=True,
                text=True,
                timeout=180,
            )
            told[name] = json.loads(made.stdout.strip().splitlines()[-1])
        except (OSError, IndexError, ValueError, subprocess.TimeoutExpired) as error:
            told[name] = {"missing": f"it could not be run: {error}"}
    return told


PARTS: dict[str, Callable[[Place, Size], dict[str, Any]]] = {
    "cold_start": _cold_start,
    "throughput": _throughput,
    "compiled": _compiled,
    "two_workers": _two_workers,
    "fleet": _fleet,
    "charts": _charts,
    "kills": _kills,
    "peers": _peers,
}


if __name__ == "__main__":
    main()
