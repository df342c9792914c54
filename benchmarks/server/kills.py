"""A service killed by SIGKILL under load, again and again: what was acknowledged is there, once and in order."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import func, select

from benchmarks.server.envelopes import OBSERVATIONS, Author, run_ids
from benchmarks.server.services import family, start, stop
from benchmarks.server.throughput import SEED, enlist
from monitor_server.storage import Database, RunRow, commands, observations, runs
from monitor_server.storage.tables import observations as observations_table
from monitor_server.storage.tables import senders

RUNS = 40
CALM_SECONDS = (0.3, 0.9)
"""Between two kills, so much load by chance."""
SICK = 5
"""Every so many runs diverges, so that commands are issued while processes die."""
SICK_FROM = 6
"""The envelope from which it does."""


def run(database: str, log: Path, *, kills: int, workers: int = 1) -> dict[str, Any]:
    """Trainers that repeat what was not answered, over a service that dies ``kills`` times; what is wrong then."""
    runs_ = run_ids(RUNS, seed=SEED + 3)
    options = ["--workers", str(workers)] if workers > 1 else []
    service = start(database, log, *options)
    enlist(database, runs_)
    chance = random.Random(SEED)
    trainers = Trainers(service.port, runs_)
    began = time.perf_counter()
    thread = threading.Thread(target=trainers.work)
    thread.start()
    try:
        for _ in range(kills):
            # Only once the load has come back: a service that was not up could lose nothing.
            trainers.wait_for(RUNS)
            time.sleep(chance.uniform(*CALM_SECONDS))
            if workers > 1:
                # One worker of several: the others go on, and the supervisor replaces it.
                victims = [one for one in family(service.process.pid)[1:] if _is_worker(one)]
                if victims:
                    os.kill(chance.choice(victims), signal.SIGKILL)
                continue
            service.process.kill()
            service.process.wait()
            service = start(database, log, port=service.port)
        trainers.wait_for(2 * RUNS)
    finally:
        trainers.is_over = True
        thread.join(60)
        stop(service)
    return {
        "kills": kills,
        "workers": workers,
        "seconds": time.perf_counter() - began,
        "acknowledged_envelopes": sum(trainers.acknowledged.values()),
        "sent_again": trainers.again,
        **_verdict(database, trainers),
    }


def _is_worker(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


class Trainers:
    """Each sends its next envelope only after the receipt of the last, and the same one until there is a receipt."""

    def __init__(self, port: int, runs: list[UUID]) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._runs = runs
        self._senders = run_ids(len(runs), seed=SEED + 4)
        self._author = Author(seed=SEED + 3)
        self.acknowledged = dict.fromkeys(runs, 0)
        self.commands: dict[UUID, set[UUID]] = {run_id: set() for run_id in runs}
        """Ids of the commands that receipts carried."""
        self.wrong: list[str] = []
        self.again = 0
        self.is_over = False

    def wait_for(self, further: int) -> None:
        """Until so many further envelopes are acknowledged, or a minute is over."""
        wanted, deadline = sum(self.acknowledged.values()) + further, time.monotonic() + 60
        while sum(self.acknowledged.values()) < wanted and time.monotonic() < deadline:
            time.sleep(0.02)

    def work(self) -> None:
        """Send until it is over."""
        asyncio.run(self._work())

    async def _work(self) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=10.0, trust_env=False) as client:
            await asyncio.gather(*(self._train(client, index) for index in range(len(self._runs))))

    async def _train(self, client: httpx.AsyncClient, index: int) -> None:
        run_id, sequence = self._runs[index], 1
        path = f"/api/v1/runs/{run_id}/envelopes"
        body = self._body(index, sequence)
        while True:
            if self.is_over:
                return
            try:
                answer = await client.post(path, content=body, headers={"content-type": "application/json"})
            except httpx.HTTPError:
                self.again += 1
                await asyncio.sleep(0.05)
                continue
            if answer.status_code == 503:
                self.again += 1
                await asyncio.sleep(0.1)
                continue
            receipt = answer.json()
            if answer.status_code != 200 or receipt["sequence"] != sequence:
                self.wrong.append(f"{answer.status_code} for envelope {sequence}: {answer.text[:200]}")
                return
            self.acknowledged[run_id] = sequence
            self.commands[run_id] |= {UUID(one["command_id"]) for one in receipt["commands"]}
            sequence += 1
            body = self._body(index, sequence)
            await asyncio.sleep(0.02)

    def _body(self, index: int, sequence: int) -> bytes:
        body = self._author.body(self._runs[index], self._senders[index], sequence)
        if index % SICK or 1 < sequence < SICK_FROM:
            return body
        told = json.loads(body)
        if sequence == 1:
            # Something to roll back to: without it nothing but a person could help.
            checkpoint = {"checkpoint_id": str(self._senders[index]), "attempt": 0, "step": 20, "saved_at": 1.0}
            told["checkpoints"] = [{**checkpoint, "state": "confirmed"}]
            return json.dumps(told).encode()
        losses = told["blocks"][0]["signals"]["loss"]
        grown = [loss * 1.02 ** min(2000, 50 * (sequence - SICK_FROM) + at) for at, loss in enumerate(losses)]
        told["blocks"][0]["signals"]["loss"] = grown
        return json.dumps(told).encode()


def _verdict(address: str, trainers: Trainers) -> dict[str, Any]:
    """What the database says afterwards."""
    lost = twice = disorder = 0
    database = Database(address)
    try:
        with database.read() as connection:
            issued = 0
            for run_id, acknowledged in trainers.acknowledged.items():
                row = runs.load(connection, run_id)
                assert isinstance(row, RunRow)
                counted = select(func.count(), func.min(observations_table.c.step), func.max(observations_table.c.step))
                count, first, last = connection.execute(counted.where(observations_table.c.run_id == run_id)).one()
                sent = (
                    connection.execute(
                        select(func.max(senders.c.last_sequence)).where(senders.c.run_id == run_id)
                    ).scalar_one()
                    or 0
                )
                lost += max(0, acknowledged * OBSERVATIONS - count)
                # Of an envelope whose receipt was cut off nobody knows; but no more than that one may be there.
                disorder += not acknowledged <= sent <= acknowledged + 1
                expected = (0, sent * OBSERVATIONS - 1, sent * OBSERVATIONS) if sent else (None, None, 0)
                disorder += (first, last, count) != expected
                disorder += row.observations_total != count or row.last_step != last
                # In full order, and every one of them judged.
                steps = [one.step for one in observations.read(connection, run_id, limit=1_000_000)]
                disorder += steps != list(range(sent * OBSERVATIONS))
                ordered = commands.of_run(connection, run_id, 10_000)
                issued += len(ordered)
                twice += len({(one.command.incident_id, one.command.revision) for one in ordered}) != len(ordered)
                twice += len([one for one in ordered if one.state == "pending"]) > 1
                twice += not trainers.commands[run_id] <= {one.command.command_id for one in ordered}
    finally:
        database.close()
    return {
        "observations_lost": lost,
        "commands_twice": twice,
        "runs_out_of_order": disorder,
        "commands_issued": issued,
        "unexpected_answers": trainers.wrong[:5],
    }


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], Path(sys.argv[2]), kills=int(sys.argv[3])), indent=1))
