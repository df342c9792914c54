"""The load generator: `python -m benchmarks.server.load PLAN.json`, told to begin each phase by a line on stdin.

Every run is a trainer: it sends its next envelope only after the receipt of the last. It prints a line of JSON for
each phase: what was acknowledged, in which time, and how long the answers took, counted from when the envelope
was *due*, so that a service that falls behind does not look quick.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.server.envelopes import OBSERVATIONS, Author, run_ids

CONNECTIONS = 64
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Phase:
    """A stretch of load. ``rate`` in envelopes per second; None: as fast as the answers come.

    ``rounds``: it ends when every run has sent so many, whatever the time.
    """

    name: str
    seconds: float
    rate: float | None = None
    rounds: int = 0


@dataclass(frozen=True)
class Plan:
    """What to send: from ``runs`` trainers, ``envelopes`` from each at most."""

    port: int
    seed: int
    runs: int
    envelopes: int
    phases: list[Phase]

    @classmethod
    def read(cls, text: str) -> Plan:
        """From JSON."""
        told = json.loads(text)
        return cls(**{**told, "phases": [Phase(**phase) for phase in told["phases"]]})

    def written(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))


class Door(asyncio.Protocol):
    """One connection: a request, then its answer, then the next."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None
        self.is_closed = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the service closed the connection"))

    def ask(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        """Send a request; the status and body of its answer."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data if self._buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = buffer[:end].lower()
        at = head.index(b"content-length:") + 15
        length = int(head[at : head.find(b"\r", at) if head.find(b"\r", at) > 0 else end])
        if len(buffer) < end + 4 + length:
            return
        self._buffer = b""
        assert self._answer is not None
        if not self._answer.done():
            self._answer.set_result((int(head[9:12]), buffer[end + 4 :]))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Generator:
    """The trainers, spread over the connections."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        author = Author(seed=plan.seed)
        named = zip(run_ids(plan.runs, seed=plan.seed), run_ids(plan.runs, seed=plan.seed + 1))
        self._requests = [list(author.envelopes(run_id, sender, plan.envelopes)) for run_id, sender in named]
        self._next = [0] * plan.runs
        self._doors: list[Door] = []
        self.busy = 0

    async def open(self) -> None:
        """Connect."""
        loop = asyncio.get_running_loop()
        for _ in range(CONNECTIONS):
            _, door = await loop.create_connection(Door, "127.0.0.1", self._plan.port)
            self._doors.append(door)

    async def phase(self, phase: Phase) -> dict[str, Any]:
        """Load for so many seconds; what came of it."""
        began = time.perf_counter()
        latencies: list[float] = []
        before = sum(self._next)
        work = [self._talk(index, phase, began, latencies) for index in range(CONNECTIONS)]
        await asyncio.gather(*work)
        seconds = time.perf_counter() - began
        acknowledged = sum(self._next) - before
        latencies.sort()
        return {
            "phase": phase.name,
            "seconds": seconds,
            "envelopes": acknowledged,
            "observations": acknowledged * OBSERVATIONS,
            "acknowledged_in_all": sum(self._next) * OBSERVATIONS,
            "busy": self.busy,
            "p50_ms": 1000 * _quantile(latencies, 0.5),
            "p99_ms": 1000 * _quantile(latencies, 0.99),
            "max_ms": 1000 * latencies[-1] if latencies else 0.0,
        }

    async def _talk(self, index: int, phase: Phase, began: float, latencies: list[float]) -> None:
        mine = range(index, self._plan.runs, CONNECTIONS)
        turn = 0
        while True:
            due = time.perf_counter()
            if phase.rate is not None:
                # Envelope n of all is due n / rate seconds after the beginning; the connections take turns.
                due = began + (turn * CONNECTIONS + index) / phase.rate
                wait = due - time.perf_counter()
                if wait > 0:
                    await asyncio.sleep(wait)
            if turn >= phase.rounds * len(mine) if phase.rounds else time.perf_counter() - began >= phase.seconds:
                return
            run = mine[turn % len(mine)]
            if self._next[run] >= len(self._requests[run]):
                raise RuntimeError("every envelope that was prepared has been sent; prepare more")
            await self._send(index, run)
            latencies.append(time.perf_counter() - due)
            turn += 1

    async def _send(self, index: int, run: int) -> None:
        while True:
            door = self._doors[index]
            if door.is_closed:
                _, door = await asyncio.get_running_loop().create_connection(Door, "127.0.0.1", self._plan.port)
                self._doors[index] = door
            request = self._requests[run][self._next[run]]
            status, body = await asyncio.wait_for(door.ask(request), PATIENCE_SECONDS)
            if status == 200:
                self._next[run] += 1
                return
            if status not in (429, 503):
                raise RuntimeError(f"an envelope was answered {status}: {body[:300]!r}")
            self.busy += 1
            await asyncio.sleep(0.2)


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


async def _work(plan: Plan) -> None:
    generator = Generator(plan)
    loop = asyncio.get_running_loop()
    await generator.open()
    _say({"ready": True})
    for phase in plan.phases:
        rate = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
        _say(await generator.phase(phase if rate is None else replace(phase, rate=rate)))


def _say(told: dict[str, Any]) -> None:
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    uvloop.run(_work(Plan.read(Path(sys.argv[1]).read_text())))
