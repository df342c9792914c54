"""Quiet: a person begins or lifts a silence."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import Connection

from monitor_server.pipeline.refusals import UnknownRun
from monitor_server.storage import audit, events, runs, silences
from monitor_server.storage.audit import Entry
from monitor_server.storage.events import Event
from monitor_server.storage.silences import Silence


def silence(connection: Connection, wished: Silence, *, now: float, token_id: str | None = None) -> None:
    """Begin a silence. Raises `UnknownRun` where it names one that is not there."""
    _note(connection, wished, "silence", wished.created_by, now, token_id)
    silences.add(connection, wished)


def unsilence(connection: Connection, known: Silence, *, by: str, now: float, token_id: str | None = None) -> None:
    """Lift a silence; its remark stays in the audit log."""
    _note(connection, known, "lift_silence", by, now, token_id)
    silences.lift(connection, known.silence_id)


def _note(connection: Connection, about: Silence, action: str, by: str, now: float, token_id: str | None) -> None:
    run = None if about.run_id is None else runs.load(connection, about.run_id)
    if about.run_id is not None and run is None:
        raise UnknownRun(about.run_id)
    project = run.project if run is not None else about.project
    lifted = action == "lift_silence"
    told = Event("silence", project or "", about.run_id, now, asdict(about) | {"is_lifted": lifted})
    events.add(connection, [told])
    entry = Entry(
        done_at=now,
        actor_kind="person",
        actor=by,
        token_id=token_id,
        action=action,
        project=project,
        run_id=about.run_id,
        target=str(about.silence_id),
        document=asdict(about),
    )
    audit.add(connection, [entry])
