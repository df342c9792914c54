"""Worker and spool together: a service that is away, a process that dies, and every step once in the end."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from uuid import UUID

import pytest

from client_hook.delivery import MemoryTransport, Rejected, UnknownRun, Unreachable
from client_hook.delivery.spool import Spool
from tests.client_hook.delivery.bench import (
    DESCRIPTION,
    RUN,
    SENDER,
    Bench,
    Leaps,
    acknowledgement,
    bench,
    receipt_for,
    steps_of,
)
from trainguard.wire import Envelope, Receipt, RunDescription


class Service:
    """Records once by (run, sender, sequence); can be away, or lose its receipts."""

    def __init__(self) -> None:
        self.is_away = False
        self.loses_receipts = False
        self.refuses: set[int] = set()
        self.known: set[UUID] = {RUN}
        self.envelopes: list[Envelope] = []
        self.duplicates = 0
        self._last: dict[tuple[UUID, UUID], int] = {}

    def __call__(self, envelope: Envelope) -> Receipt:
        if self.is_away:
            raise Unreachable("down")
        if envelope.run_id not in self.known:
            raise UnknownRun("never heard of it")
        if self.refuses.intersection(steps_of([envelope])):
            raise Rejected("bad", "blocks.0.signals.loss")
        key = envelope.run_id, envelope.sender
        if envelope.sequence > self._last.get(key, 0):
            self._last[key] = envelope.sequence
            self.envelopes.append(envelope)
        else:
            self.duplicates += 1
        if self.loses_receipts:
            raise Unreachable("the receipt was lost")
        return receipt_for(envelope)

    def register(self, description: RunDescription) -> None:
        if self.is_away:
            raise Unreachable("down")
        self.known.add(description.run_id)

    @property
    def steps(self) -> list[int]:
        return steps_of(self.envelopes)

    @property
    def lost(self) -> int:
        return sum({one.sender: one.observations_lost for one in self.envelopes}.values())


def process(service: Service, folder: Path, number: int = 0, run: RunDescription = DESCRIPTION) -> Bench:
    """A trainer process, by its delivery; the next one has another sender."""
    return bench(
        MemoryTransport(service, service.register),
        spool=Spool(folder / "spool", run),
        sender=UUID(int=SENDER.int + number),
        description=run,
        monotonic=Leaps(),
    )


def test_what_a_killed_process_had_not_delivered_is_sent_by_the_next(tmp_path: Path) -> None:
    service = Service()
    killed = process(service, tmp_path)
    killed.observe(0, 1)
    killed.worker.exchange()
    service.is_away = True
    for step in range(2, 50):
        killed.observe(step)
        killed.outbox.put(acknowledgement(step))
        killed.worker.exchange()
    del killed  # no close: kill -9
    service.is_away = False
    following = process(service, tmp_path, 1)
    following.observe(50)
    following.worker.exchange()
    assert service.steps == list(range(51))
    assert [one.command_id.int for each in service.envelopes for one in each.acknowledgements] == list(range(2, 50))
    assert service.lost == 0


def test_an_envelope_whose_receipt_was_lost_is_no_second_one_for_the_next_process(tmp_path: Path) -> None:
    service = Service()
    killed = process(service, tmp_path)
    service.loses_receipts = True
    killed.observe(0, 1, 2)
    killed.worker.exchange()
    service.is_away = True
    killed.observe(3)
    killed.worker.exchange()
    service.is_away = service.loses_receipts = False
    following = process(service, tmp_path, 1)
    following.observe(4)
    following.worker.exchange()
    assert service.steps == [0, 1, 2, 3, 4]
    assert service.duplicates == 1


def test_the_same_process_goes_on_in_order_when_the_service_is_back(tmp_path: Path) -> None:
    service = Service()
    on_bench = process(service, tmp_path)
    on_bench.observe(0)
    on_bench.worker.exchange()
    service.is_away = True
    for step in range(1, 30):
        on_bench.observe(step)
        on_bench.worker.exchange()
    assert on_bench.worker.status.messages_waiting == 0  # on disk, not in memory
    service.is_away = False
    on_bench.observe(30)
    on_bench.worker.exchange()
    assert service.steps == list(range(31))
    assert service.duplicates == 0
    assert not list((tmp_path / "spool").iterdir())
    on_bench.worker.close(1)
    assert not on_bench.complaints or on_bench.said("down")


def test_what_is_left_at_the_end_is_kept_with_how_the_run_ended(tmp_path: Path) -> None:
    service = Service()
    service.is_away = True
    on_bench = process(service, tmp_path)
    on_bench.observe(0, 1)
    on_bench.standing.run_state = "finished"
    on_bench.worker.close(0.1)
    assert on_bench.said("sent at the next start")
    service.is_away = False
    other = RunDescription(run_id=UUID(int=70), run="another", started_at=1.0)
    following = process(service, tmp_path, 1, other)
    following.worker.exchange()
    of_the_first = [one for one in service.envelopes if one.run_id == RUN]
    assert steps_of(of_the_first) == [0, 1]
    assert of_the_first[-1].state == "finished"


def test_a_run_of_before_is_made_known_to_a_service_that_does_not_know_it(tmp_path: Path) -> None:
    service = Service()
    service.is_away = True
    first = process(service, tmp_path)
    first.observe(0)
    first.worker.close(0.1)
    service.is_away, service.known = False, set()
    following = process(service, tmp_path, 1, RunDescription(run_id=UUID(int=70), run="another", started_at=1.0))
    following.worker.exchange()
    assert {RUN, UUID(int=70)} <= service.known
    assert steps_of([one for one in service.envelopes if one.run_id == RUN]) == [0]


def test_a_refused_envelope_from_the_disk_is_taken_apart(tmp_path: Path) -> None:
    service = Service()
    service.is_away = True
    on_bench = process(service, tmp_path)
    on_bench.observe(*range(8))
    on_bench.outbox.put(acknowledgement(1))
    on_bench.worker.exchange()
    on_bench.observe(8)
    on_bench.worker.exchange()
    service.is_away, service.refuses = False, {5}
    on_bench.worker.exchange()
    assert service.steps == [0, 1, 2, 3, 4, 6, 7, 8]
    assert len([one for each in service.envelopes for one in each.acknowledgements]) == 1
    assert on_bench.worker.status.observations_lost == 1
    assert on_bench.said("refuses 1 × Observation")


def test_a_full_disk_leaves_everything_in_memory_within_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service()
    service.is_away = True
    on_bench = bench(
        MemoryTransport(service, service.register),
        spool=Spool(tmp_path / "spool", DESCRIPTION),
        max_observations=20,
        monotonic=Leaps(),
    )

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for step in range(100):
        on_bench.observe(step)
        on_bench.worker.exchange()
    assert on_bench.said("cannot be written")
    assert on_bench.worker.status.messages_waiting <= 22
    monkeypatch.undo()
    service.is_away = False
    on_bench.observe(100)
    on_bench.worker.exchange()
    on_bench.standing.run_state = "finished"
    on_bench.worker.close(1)
    assert service.steps == sorted(service.steps)
    assert service.steps[-1] == 100
    assert service.lost == 101 - len(service.steps)
