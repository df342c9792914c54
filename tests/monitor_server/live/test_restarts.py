"""Whichever process answers, and however often it was started again: the same findings, incidents and decisions."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor_server.live import LiveMemory
from monitor_server.live.live_run import SNAPSHOT_EVERY
from monitor_server.settings import Settings
from monitor_server.storage import incidents, reports, snapshots
from tests.monitor_server.service import DIVERGING, HEALTHY, Clock, Service, Trainer, diverge
from trainguard import __version__
from trainguard.wire import Command, Envelope

STEPS = 2400


@dataclass
class Trouble:
    """Losses that leave the band at some step and stay away for some steps."""

    at: int
    steps: int
    loss: float


@dataclass
class Film:
    """A run with troubles; the trainer obeys whatever it is told."""

    troubles: list[Trouble]
    cuts: list[int]
    restarts: set[int] = field(default_factory=set)

    def loss(self, made: int) -> float:
        for trouble in self.troubles:
            if trouble.at <= made < trouble.at + trouble.steps:
                return trouble.loss
        return 2.3 + 0.01 * (made % 7)


def play(film: Film, template: Path, *, restart: bool) -> dict[str, Any]:
    """All that the service says of the film, when it is started again between some envelopes, or never."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "film.db"
        shutil.copyfile(template, path)
        service = Service(Settings(database=f"sqlite:///{path}"), Clock())
        try:
            return _played(service, film, restart)
        finally:
            service.stop()


def _played(service: Service, film: Film, restart: bool) -> dict[str, Any]:
    trainer = Trainer()
    trainer.run_id = trainer.sender = type(trainer.run_id)(int=7)
    service.register(trainer)
    known = [trainer.checkpoint(step).model_copy(update={"checkpoint_id": type(trainer.run_id)(int=step)})
             for step in range(0, STEPS, 100)]  # fmt: skip
    made, said = 0, []
    for number, cut in enumerate(film.cuts):
        if restart and number in film.restarts:
            forget(service)
        losses = [film.loss(step) for step in range(made, made + cut)]
        made += cut
        past = [one for one in known if one.step < trainer.step]
        receipt = service.receipt(trainer.steps(losses, checkpoints=past))
        said.append(receipt.message)
        for command in receipt.commands:
            service.send(obeyed(trainer, command, known))
    with service.database.read() as connection:
        return {
            "said": said,
            "findings": [
                one.finding for one in reports.findings_of(connection, trainer.run_id, source=None, limit=9999)
            ],
            "incidents": [one.incident for one in incidents.listing(connection)],
            "decisions": incidents.decisions_of(connection, trainer.run_id),
            "run": service.run(trainer.run_id),
        }


def obeyed(trainer: Trainer, command: Command, known: list[Any]) -> Envelope:
    if command.action == "halt":
        return trainer.envelope(acknowledgements=[trainer.refuse(command)])
    return trainer.obey(command, known)


def forget(service: Service) -> None:
    """What a new process knows: nothing."""
    service.ingest._memory = service.memory = LiveMemory()


troubles = st.builds(
    Trouble,
    at=st.integers(0, STEPS),
    steps=st.sampled_from([1, 3, 60]),
    loss=st.sampled_from([math.nan, math.inf, 4.0, 50.0]),
)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(troubles, max_size=5),
    st.lists(st.integers(1, 700), min_size=2, max_size=12),
    st.sets(st.integers(0, 11), min_size=1),
)
def test_a_restart_changes_nothing(
    migrated_sqlite: Path, troubles: list[Trouble], cuts: list[int], restarts: set[int]
) -> None:
    film = Film(troubles, cuts, restarts)
    assert repr(play(film, migrated_sqlite, restart=True)) == repr(play(film, migrated_sqlite, restart=False))


def test_a_process_that_takes_over_in_the_middle_of_an_incident_goes_on(serve: Callable[..., Service]) -> None:
    first, second = serve(), serve()
    trainer = Trainer()
    receipt, known = diverge(first, trainer)
    answered = second.receipt(trainer.obey(receipt.commands[0], known))
    assert answered.commands == []
    first.send(trainer.steps(HEALTHY[200:280]))
    second.send(trainer.steps(HEALTHY[:140]))
    with second.database.read() as connection:
        [told] = incidents.listing(connection, kinds=["divergence"])
    assert told.incident.state == "resolved"


def test_two_processes_taking_turns_agree_with_one(serve: Callable[..., Service]) -> None:
    one, other = serve(), serve()
    alone, shared = Trainer(), Trainer()
    one.register(alone)
    one.register(shared)
    for service in (one, other, one, other):
        one.send(alone.steps(HEALTHY[:200]))
        service.send(shared.steps(HEALTHY[:200]))
    one.send(alone.steps(DIVERGING))
    other.send(shared.steps(DIVERGING))
    with one.database.read() as connection:
        told = [
            [stored.finding for stored in reports.findings_of(connection, run.run_id, source=None, limit=100)]
            for run in (alone, shared)
        ]
    assert told[0] == told[1] != []


def test_many_trainers_and_two_processes_at_once_lose_nothing(serve: Callable[..., Service]) -> None:
    processes = (serve(), serve())
    trainers = [Trainer() for _ in range(4)]
    for trainer in trainers:
        processes[0].register(trainer)
    registered = {trainer.run_id: processes[0].run(trainer.run_id).version for trainer in trainers}
    envelopes = [(trainer, [trainer.steps(HEALTHY[:20]) for _ in range(10)]) for trainer in trainers]

    def train(trainer: Trainer, mine: list[Envelope]) -> None:
        for number, envelope in enumerate(mine):
            # The second answer is a duplicate's, from the other process.
            for process in (processes[number % 2], processes[(number + 1) % 2]):
                assert process.receipt(envelope).sequence == envelope.sequence

    with ThreadPoolExecutor(len(trainers)) as pool:
        for done in [pool.submit(train, *one) for one in envelopes]:
            done.result(60)
    for trainer in trainers:
        run = processes[0].run(trainer.run_id)
        assert (run.observations_total, run.last_step) == (200, 199)
        assert run.version - registered[trainer.run_id] == 10


def test_snapshots_are_taken_from_time_to_time_and_only_the_latest_are_kept(service: Service) -> None:
    trainer = Trainer()
    service.register(trainer)
    for _ in range(snapshots.KEPT_PER_RUN + 4):
        service.clock.now += 1.0
        service.send(trainer.steps([2.0 + 0.01 * (step % 7) for step in range(SNAPSHOT_EVERY)]))
    with service.database.read() as connection:
        latest = snapshots.latest_before(connection, trainer.run_id, 0, None, code_version=__version__)
        assert latest is not None
        assert latest.step == trainer.step - 1
        oldest = [
            snapshots.latest_before(connection, trainer.run_id, 0, number * SNAPSHOT_EVERY, code_version=__version__)
            for number in range(1, snapshots.KEPT_PER_RUN + 5)
        ]
        other = snapshots.latest_before(connection, trainer.run_id, 0, None, code_version="0.0.0")
    assert sum(one is not None for one in oldest) == snapshots.KEPT_PER_RUN
    assert other is None, "a snapshot of another version is not trusted: its detectors may be others"


def test_an_unreadable_snapshot_is_replaced_by_a_replay(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    trainer = Trainer()
    service.register(trainer)
    service.send(trainer.steps(HEALTHY))
    broken = snapshots.PanelSnapshot(0, trainer.step - 1, __version__, {"watch": "torn"})
    with service.database.write() as connection:
        snapshots.save(connection, trainer.run_id, broken, service.clock())
    forget(service)
    case = service.send(trainer.steps(DIVERGING))
    assert "divergence" in {finding.kind for finding in case.findings}
    assert "unreadable" in caplog.text


def test_the_memory_is_bounded(serve: Callable[..., Service]) -> None:
    service = serve(live_runs=2)
    trainers = [Trainer() for _ in range(3)]
    for trainer in trainers:
        service.register(trainer)
        service.send(trainer.steps(HEALTHY))
    assert len(service.memory) == 2
    assert service.send(trainers[0].steps(DIVERGING)).findings


def test_a_runs_own_thresholds_hold_also_where_some_are_not_known_here(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    spike = [*HEALTHY, 9.0]
    deaf = {"loss_spike": {"z": 1e6, "from_a_later_version": 1.0}, "clairvoyance": {"years": 3.0}}
    heard: dict[bool, set[str]] = {}
    for is_deaf in (False, True):
        trainer = Trainer(detectors=deaf if is_deaf else {})
        service.register(trainer)
        service.send(trainer.steps(HEALTHY))
        forget(service)
        heard[is_deaf] = {one.kind for one in service.send(trainer.steps(spike)).findings}
    assert "loss_spike" in heard[False]
    assert "loss_spike" not in heard[True]
    assert "not known here: loss_spike.from_a_later_version, clairvoyance" in caplog.text
