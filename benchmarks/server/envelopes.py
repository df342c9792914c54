"""Requests written beforehand: what a thousand trainers would send, byte for byte as the hook sends it."""

from __future__ import annotations

import gzip
import json
import math
import random
from collections.abc import Iterator
from uuid import UUID

OBSERVATIONS = 50
"""In every envelope."""
SIGNALS = 8
BLOCKS = 64
"""Different blocks of numbers; runs and envelopes choose among them."""

_HEAD = (
    b"POST /api/v1/runs/%b/envelopes HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    b"accept: application/json\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
)


def run_ids(count: int, *, seed: int) -> list[UUID]:
    """The ids of so many runs, the same for the same seed."""
    chance = random.Random(seed)
    return [UUID(int=chance.getrandbits(128), version=4) for _ in range(count)]


class Author:
    """Writes the envelopes of runs: a loss that falls and flutters, gradients with multiplicative noise."""

    def __init__(self, *, seed: int, observations: int = OBSERVATIONS) -> None:
        self._observations = observations
        self._blocks = [self._columns(random.Random(seed + index)) for index in range(BLOCKS)]

    def envelopes(self, run_id: UUID, sender: UUID, count: int, *, first: int = 1) -> Iterator[bytes]:
        """The requests of one trainer, in order, from the sequence ``first`` on (1: from the start of the run)."""
        for sequence in range(first, first + count):
            yield self.request(run_id, sender, sequence)

    def request(self, run_id: UUID, sender: UUID, sequence: int) -> bytes:
        """One request, whole: head and compressed body."""
        body = gzip.compress(self.body(run_id, sender, sequence), compresslevel=1)
        return _HEAD % (str(run_id).encode(), len(body)) + body

    def body(self, run_id: UUID, sender: UUID, sequence: int) -> bytes:
        """The JSON of one envelope."""
        start = (sequence - 1) * self._observations
        steps = range(start, start + self._observations)
        flutter, others = self._blocks[(run_id.int + sequence) % BLOCKS]
        # Were it the same for ever, a thousand runs would reach a plateau in the same seconds, and the service would be
        # measured at opening incidents.
        loss = ",".join(f"{2.0 + 3.0 / math.sqrt(1.0 + step / 100.0) + extra!r}" for step, extra in zip(steps, flutter))
        signals = f'{{"loss":[{loss}],{others}'
        told = ",".join(map(str, steps))
        times = ",".join(f"{1.7e9 + step * 0.31:.3f}" for step in steps)
        return (
            f'{{"run_id":"{run_id}","sender":"{sender}","sequence":{sequence},"sent_at":1.7e9,"attempt":0,'
            f'"revision":0,"blocks":[{{"attempt":0,"steps":[{told}],"observed_at":[{times}],"signals":{signals}}}]}}'
        ).encode()

    def _columns(self, chance: random.Random) -> tuple[list[float], str]:
        """What is added to the loss; and the JSON of the other signals, without its first brace."""
        count = self._observations
        norms = [math.exp(chance.gauss(0.0, 0.2)) for _ in range(count)]
        flutter = [0.05 * chance.gauss(0.0, 1.0) for _ in range(count)]
        columns = {
            "grad_norm": norms,
            "param_norm": [120.0 + chance.random() for _ in range(count)],
            "update_norm": [0.1 * norm for norm in norms],
            "update_ratio": [1e-3 * norm for norm in norms],
            "learning_rate": [3e-4 * (1 - 1e-4 * index) for index in range(count)],
            "lr_scale": [1.0] * count,
            "step_seconds": [0.31 + 0.01 * chance.random() for _ in range(count)],
        }
        assert 1 + len(columns) == SIGNALS
        return flutter, json.dumps(columns, separators=(",", ":"))[1:]
