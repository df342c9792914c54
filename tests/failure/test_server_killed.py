"""kill -9 in the middle of everything: what was acknowledged is there, what was not is taken once."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from client_hook.delivery.http_transport import HttpTransport
from client_hook.delivery.transport import TransportError
from tests.failure.served import Served
from tests.monitor_server.service import DIVERGING, HEALTHY, Trainer
from trainguard.wire import Envelope

TRAINERS = 4
ACKNOWLEDGED_BEFORE_THE_KILL = 60
STEPS_PER_ENVELOPE = 5


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path) as served:
        yield served


@pytest.fixture
def transport(served: Served) -> Iterator[HttpTransport]:
    transport = HttpTransport(served.address)
    yield transport
    transport.close()


@dataclass
class Sender:
    """A trainer that sends as fast as it is answered, until nobody answers any more."""

    trainer: Trainer = field(default_factory=Trainer)
    acknowledged: list[Envelope] = field(default_factory=list)
    unanswered: Envelope | None = None

    def send_on(self, address: str, heard: threading.Semaphore) -> None:
        transport = HttpTransport(address)
        try:
            while True:
                envelope = self.trainer.steps([2.0] * STEPS_PER_ENVELOPE)
                self.unanswered = envelope
                receipt = transport.send(envelope)
                assert receipt.status == "recorded"
                self.acknowledged.append(envelope)
                heard.release()
        except TransportError:
            return
        finally:
            transport.close()


def steps_of(database: Path, trainer: Trainer) -> list[int]:
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "SELECT step FROM observations WHERE run_id = ? ORDER BY step", (trainer.run_id.hex,)
        ).fetchall()
    return [step for (step,) in rows]


def test_everything_acknowledged_survives_and_the_rest_is_taken_exactly_once(
    served: Served, transport: HttpTransport
) -> None:
    senders = [Sender() for _ in range(TRAINERS)]
    for sender in senders:
        transport.register(sender.trainer.description())
    heard = threading.Semaphore(0)
    threads = [threading.Thread(target=sender.send_on, args=(served.address, heard)) for sender in senders]
    for thread in threads:
        thread.start()
    for _ in range(ACKNOWLEDGED_BEFORE_THE_KILL):
        assert heard.acquire(timeout=60)
    served.kill()
    for thread in threads:
        thread.join(timeout=60)

    for sender in senders:
        there = steps_of(served.database, sender.trainer)
        promised = STEPS_PER_ENVELOPE * len(sender.acknowledged)
        assert there[:promised] == list(range(promised))
        # The one in flight was recorded whole, or not at all.
        assert len(there) in (promised, promised + STEPS_PER_ENVELOPE)

    served.start()
    for sender in senders:
        assert sender.unanswered is not None
        assert transport.send(sender.unanswered).status in ("recorded", "duplicate")
        assert transport.send(sender.unanswered).status == "duplicate"
        assert transport.send(sender.acknowledged[-1]).status == "duplicate"
        assert transport.send(sender.trainer.steps([2.0] * STEPS_PER_ENVELOPE)).status == "recorded"
        told = httpx.get(f"{served.address}/api/v1/runs/{sender.trainer.run_id}").json()
        expected = STEPS_PER_ENVELOPE * (len(sender.acknowledged) + 2)
        assert steps_of(served.database, sender.trainer) == list(range(expected))
        assert (told["observations"], told["observations_lost"]) == (expected, 0)
    with closing(sqlite3.connect(served.database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_command_that_was_on_its_way_is_neither_lost_nor_given_twice(
    served: Served, transport: HttpTransport
) -> None:
    trainer = Trainer(mode="act")
    transport.register(trainer.description())
    known = [trainer.checkpoint(0), trainer.checkpoint(200)]
    transport.send(trainer.steps(HEALTHY, checkpoints=known))
    last = trainer.steps(DIVERGING)
    (command,) = transport.send(last).commands

    served.kill()
    served.start()
    repeated = transport.send(last)
    assert (repeated.status, repeated.commands) == ("duplicate", [command])
    assert transport.send(trainer.steps(DIVERGING)).commands == [command]
    obeyed = trainer.obey(command, known)
    assert transport.send(obeyed).commands == []

    served.kill()
    served.start()
    again = transport.send(obeyed)
    assert (again.status, again.commands) == ("duplicate", [])
    recovered = transport.send(trainer.steps(HEALTHY[:240]))
    assert recovered.commands == []
    told = httpx.get(f"{served.address}/api/v1/runs/{trainer.run_id}").json()
    assert (told["attempt"], told["rollbacks"], told["active_incident"]) == (1, 1, None)


def test_asked_to_stop_it_ends_in_order(served: Served, transport: HttpTransport) -> None:
    trainer = Trainer()
    transport.register(trainer.description())
    assert transport.send(trainer.steps([1.0])).status == "recorded"
    assert served.stop() in (0, -15)
    assert steps_of(served.database, trainer) == [0]
