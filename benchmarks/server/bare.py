"""What the bare database takes: the same rows by executemany or COPY, a commit for as many as ingest commits."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.server.envelopes import Author, run_ids
from benchmarks.server.throughput import enlist
from monitor_server.storage import Database, observations
from trainguard.wire import Envelope

RUNS = 100
ENVELOPES_A_COMMIT = 64


def run(address: str, *, seconds: float) -> dict[str, Any]:
    """Rows per second into the table of observations, by the quickest way that the driver has."""
    runs = run_ids(RUNS, seed=99)
    enlist(address, runs)
    author = Author(seed=99)
    database = Database(address)
    rows = commits = 0
    spent = 0.0
    sequence = 0
    try:
        while spent < seconds:
            # Packing is the service's work; only the database's is timed.
            packed: list[observations.PackedRow] = []
            for _ in range(ENVELOPES_A_COMMIT):
                run_id = runs[sequence % RUNS]
                body = author.body(run_id, run_id, 1 + sequence // RUNS)
                sequence += 1
                for block in Envelope.model_validate_json(body).blocks:
                    packed += observations.pack(run_id, block)
            began = time.perf_counter()
            with database.write() as connection:
                observations.add_new(connection, packed)
            spent += time.perf_counter() - began
            rows += len(packed)
            commits += 1
    finally:
        database.close()
    return {"rows": rows, "commits": commits, "seconds": spent, "per_second": rows / spent}
