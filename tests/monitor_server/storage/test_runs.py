"""Runs, and what a trainer tells beside its observations."""

from __future__ import annotations

import math
from uuid import UUID, uuid4

from sqlalchemy import select

from monitor_server.storage import Database, attempts, incidents, reports, runs, senders, silences
from monitor_server.storage.tables import runs as table
from tests.monitor_server.service import Trainer
from trainguard.wire import AttemptReport, CheckpointReport, Evaluation, IncidentReport


def registered(database: Database, now: float = 1.0, **description: object) -> Trainer:
    trainer = Trainer(**description)
    with database.write() as connection:
        runs.register(connection, trainer.description(), now)
    return trainer


def test_registering_again_renews_the_description_and_keeps_the_history(database: Database) -> None:
    trainer = registered(database)
    with database.write() as connection:
        runs.change(connection, trainer.run_id, {"rollbacks_total": 3, "state": "silent"})
        renewed = trainer.description().model_copy(update={"mode": "observe", "run": "renamed"})
        row, is_new = runs.register(connection, renewed, 5.0)
    assert not is_new
    assert (row.name, row.mode, row.rollbacks_total, row.state) == ("renamed", "observe", 3, "silent")
    assert (row.registered_at, row.last_seen_at, row.version) == (1.0, 5.0, 1001)


def test_runs_are_listed_newest_first_in_pages_and_by_what_they_are(database: Database) -> None:
    made = [registered(database, float(number // 2), run=f"r{number}", project=f"p{number % 2}") for number in range(6)]
    with database.write() as connection:
        runs.change(connection, made[0].run_id, {"state": "finished", "ended_at": 50.0})
        seen: list[UUID] = []
        beyond = None
        while page := runs.listing(connection, beyond=beyond, limit=4):
            seen += [row.run_id for row in page]
            beyond = (page[-1].registered_at, page[-1].run_id)
        assert len(seen) == len(set(seen)) == 6
        assert {seen[0], seen[1]} == {made[4].run_id, made[5].run_id}
        assert {row.name for row in runs.listing(connection, project="p1")} == {"r1", "r3", "r5"}
        assert [row.name for row in runs.listing(connection, name="r3")] == ["r3"]
        assert [row.name for row in runs.listing(connection, states=["finished"])] == ["r0"]
        assert runs.count_by_state(connection) == {"running": 5, "finished": 1}


def test_metrics_tell_of_those_with_an_incident_and_then_of_the_latest_heard_of(database: Database) -> None:
    made = [registered(database, float(number)) for number in range(6)]
    with database.write() as connection:
        runs.change(connection, made[5].run_id, {"state": "finished", "ended_at": 50.0})

        def told(most: int = 10, heard_after: float = -1.0, ended_after: float = 49.0) -> tuple[set[int], int]:
            first = select(table.c.run_id).where(table.c.run_id == made[1].run_id)
            found, left_out = runs.reporting(
                connection, ended_after=ended_after, heard_after=heard_after, first=first, most=most
            )
            return {[one.run_id for one in made].index(row.run_id) for row in found}, left_out

        assert told() == ({0, 1, 2, 3, 4, 5}, 0)
        assert told(ended_after=50.0) == ({0, 1, 2, 3, 4}, 0)
        assert told(heard_after=2.0) == ({3, 4, 5}, 0)
        assert told(most=3) == ({1, 4, 5}, 3)
        assert told(most=0) == (set(), 6)


def test_locking_leaves_out_what_is_unknown(database: Database) -> None:
    trainer = registered(database)
    with database.write() as connection:
        assert list(runs.lock(connection, [uuid4(), trainer.run_id, trainer.run_id])) == [trainer.run_id]


def test_the_latest_report_of_a_checkpoint_holds(database: Database) -> None:
    trainer = registered(database)
    candidate, other = trainer.checkpoint(10, "candidate"), trainer.checkpoint(5)
    confirmed = candidate.model_copy(update={"state": "confirmed"})
    gone = other.model_copy(update={"state": "removed"})
    with database.write() as connection:
        reports.save_checkpoints(connection, trainer.run_id, [candidate, other, confirmed])
        assert reports.checkpoints_of(connection, trainer.run_id) == [other, confirmed]
        reports.save_checkpoints(connection, trainer.run_id, [gone])
        assert reports.checkpoints_of(connection, trainer.run_id) == [confirmed]
        assert reports.checkpoints_of(connection, trainer.run_id, removed_too=True) == [gone, confirmed]


def test_a_checkpoint_of_any_size_is_taken(database: Database) -> None:
    trainer = registered(database)
    huge = CheckpointReport(
        checkpoint_id=uuid4(), attempt=2**31 - 1, step=2**53 - 1, state="confirmed", saved_at=1e300, size_bytes=10**30
    )
    with database.write() as connection:
        reports.save_checkpoints(connection, trainer.run_id, [huge])
        assert reports.checkpoints_of(connection, trainer.run_id) == [huge]


def test_evaluations_keep_their_nan(database: Database) -> None:
    trainer = registered(database)
    told = Evaluation(attempt=0, step=3, evaluated_at=1.0, values={"val_loss": math.nan})
    with database.write() as connection:
        reports.add_evaluations(connection, trainer.run_id, [told, told])
        [back] = reports.evaluations_of(connection, trainer.run_id, 10)
    assert math.isnan(back.values["val_loss"])


def test_a_local_brain_never_overwrites_the_incident_of_the_service(database: Database) -> None:
    trainer = registered(database)
    own = IncidentReport(
        incident_id=uuid4(), kind="divergence", state="open", severity="critical", attempt=0, onset_step=1,
        detected_step=2, opened_at=1.0, updated_at=1.0, evidence={"loss_at": math.inf},
    )  # fmt: skip
    with database.write() as connection:
        incidents.save(connection, trainer.run_id, [own], "server")
        incidents.save(connection, trainer.run_id, [own.model_copy(update={"state": "resolved"})], "local")
        [told] = incidents.listing(connection, states=["open"], kinds=["divergence"])
        assert told.incident == own
        assert incidents.active_counts(connection) == {(trainer.run_id, "divergence"): 1}
        assert incidents.gravest_active(connection, [trainer.run_id]) == {trainer.run_id: own}
        incidents.save(connection, trainer.run_id, [own.model_copy(update={"state": "resolved"})], "server")
        assert incidents.active_counts(connection) == {}


def test_an_attempt_is_assumed_until_it_is_reported(database: Database) -> None:
    trainer = registered(database)
    assumed = AttemptReport(attempt=1, parent=0, start_step=7, reason="restart", began_at=1.0)
    reported = assumed.model_copy(update={"start_step": 5, "reason": "rollback"})
    with database.write() as connection:
        attempts.assume(connection, trainer.run_id, assumed)
        attempts.save(connection, trainer.run_id, [reported])
        attempts.assume(connection, trainer.run_id, assumed)
        assert attempts.of_run(connection, trainer.run_id) == [reported]


def test_a_sender_is_remembered(database: Database) -> None:
    trainer = registered(database)
    with database.write() as connection:
        key = trainer.run_id, trainer.sender
        assert senders.load(connection, [key]) == {}
        row = senders.SenderRow(last_sequence=2**52, observations_lost=3, first_seen_at=1.0)
        senders.save_all(connection, {key: row}, 2.0)
        assert senders.load(connection, [key]) == {key: row}


def test_a_silence_ends_by_itself_or_by_hand(database: Database) -> None:
    trainer = registered(database)
    silence = silences.Silence(uuid4(), 1.0, 10.0, "ada", "I know.", run_id=trainer.run_id)
    with database.write() as connection:
        silences.add(connection, silence)
        assert silences.listing(connection, now=9.9, run_id=trainer.run_id) == [silence]
        assert silences.is_silenced(connection, trainer.run_id, 9.9)
        assert not silences.is_silenced(connection, trainer.run_id, 10.0)
        assert silences.lift(connection, silence.silence_id)
        assert not silences.lift(connection, silence.silence_id)
        assert not silences.is_silenced(connection, trainer.run_id, 5.0)
