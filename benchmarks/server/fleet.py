"""Ten thousand runs, of which a thousand talk: memory, and how long the service's questions to itself take."""

from __future__ import annotations

import time
from typing import Any

import httpx

from benchmarks.server.envelopes import run_ids
from benchmarks.server.load import Phase, Plan
from benchmarks.server.services import Service
from benchmarks.server.throughput import SEED, WARM, enlist, loading, measured

RATE = 100.0
"""Envelopes a second while the questions are asked: a thousand trainers that write every ten seconds."""


def run(service: Service, address: str, *, registered: int, active: int, seconds: float) -> dict[str, Any]:
    """Load at a modest rate; at its end the memory, and the time of every list and of /metrics, asked alone."""
    runs = run_ids(registered, seed=SEED + 1)
    enlist(address, runs)
    envelopes = 3 + int(RATE * seconds / active)
    with loading(Plan(service.port, SEED + 1, active, envelopes, [WARM, Phase("steady", seconds, RATE)])) as load:
        load.phase()
        told = measured(load, service, None)
    questions = {
        "list of runs": "/api/v1/runs?limit=100",
        "runs of a project": "/api/v1/runs?project=load&limit=100",
        "incidents": "/api/v1/incidents?limit=100",
        "one run": f"/api/v1/runs/{runs[0]}",
        "chart of a run": f"/api/v1/runs/{runs[0]}/observations?signals=loss,grad_norm&points=500",
        "metrics": "/metrics",
    }
    answers = {}
    with httpx.Client(base_url=service.url, timeout=30.0, trust_env=False) as client:
        for name, path in questions.items():
            took = []
            for _ in range(5):
                began = time.perf_counter()
                client.get(path).raise_for_status()
                took.append(1000 * (time.perf_counter() - began))
            answers[name] = sorted(took)[len(took) // 2]
    return {
        "registered": registered,
        "active": active,
        "memory_mib": service.memory_mib(),
        "p99_ms": told["p99_ms"],
        "answers_ms": answers,
    }
