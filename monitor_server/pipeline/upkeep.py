"""Upkeep: what people say of runs, which playbook a project goes by, and how a run is deleted with everything."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from monitor_server.pipeline.broadcast import of_run
from monitor_server.pipeline.refusals import CommandRefused, UnknownRun
from monitor_server.storage import Database, RunRow, audit, events, notes, playbooks, runs
from monitor_server.storage.audit import Entry
from monitor_server.storage.notes import Annotation
from monitor_server.storage.playbooks import StoredPlaybook
from trainguard.policy import Playbook

PIECE = 5_000
"""Rows deleted in one transaction: an envelope that comes meanwhile waits some milliseconds."""


PAUSE_SECONDS = 0.01
"""Between two pieces: without it, who deletes would take SQLite's writer again before any envelope gets it."""


def annotate(connection: Connection, run: RunRow, annotation: Annotation, *, token_id: str | None = None) -> None:
    """Write down what people say of a run."""
    notes.save(connection, annotation)
    entry = Entry(
        done_at=annotation.changed_at,
        actor_kind="person",
        actor=annotation.changed_by,
        token_id=token_id,
        action="annotate",
        project=run.project,
        run_id=run.run_id,
        target=run.name,
        document={
            "tags": dict(annotation.tags),
            "notes": annotation.notes,
            "archived": annotation.archived_at is not None,
        },
    )
    audit.add(connection, [entry])
    told = of_run(
        run,
        annotation.changed_at,
        tags=annotation.tags,
        notes=annotation.notes,
        archived_at=annotation.archived_at,
    )
    events.add(connection, [told])


def delete_run(database: Database, run_id: UUID, *, by: str, now: float, token_id: str | None = None) -> None:
    """Delete a run that has ended, with everything that belongs to it; the audit log keeps that it was there.

    In pieces, so that no envelope of another run waits for long. Raises `UnknownRun`, and `CommandRefused` for one
    that runs: its trainer would only register it again. A silent one that comes back after the first piece is deleted
    all the same: half a history would be worth less than none, and its trainer registers it anew.
    """
    has_begun = False
    while not _delete_piece(database, run_id, has_begun=has_begun, by=by, now=now, token_id=token_id):
        has_begun = True
        time.sleep(PAUSE_SECONDS)


def _delete_piece(
    database: Database, run_id: UUID, *, has_begun: bool, by: str, now: float, token_id: str | None
) -> bool:
    """Delete a piece of a run, or what is left of it; whether that was all."""
    with database.write() as connection:
        run = runs.lock(connection, [run_id]).get(run_id)
        if run is None:
            raise UnknownRun(run_id)
        if run.state == "running" and not has_begun:
            raise CommandRefused("run_id", "the run is running; stop it first, or wait until it is called silent")
        if notes.delete_piece(connection, run_id, rows=PIECE):
            return False
        events.forget_run(connection, run_id)
        notes.delete_run(connection, run_id)
        entry = Entry(
            done_at=now,
            actor_kind="person",
            actor=by,
            token_id=token_id,
            action="delete_run",
            project=run.project,
            run_id=run_id,
            target=run.name,
            document={"observations": run.observations_total, "state": run.state},
        )
        audit.add(connection, [entry])
        return True


def set_playbook(
    connection: Connection,
    project: str,
    document: Mapping[str, Any] | None,
    *,
    by: str,
    now: float,
    token_id: str | None = None,
) -> bool:
    """Let a project's runs go by this playbook from their next trouble on, or by the default again (None).

    The document must be valid. Whether there is something to show for it: False where there was none to remove.
    """
    if document is None:
        has_changed = playbooks.remove(connection, project)
    else:
        playbooks.save(connection, StoredPlaybook(project, now, by, document))
        has_changed = True
    if has_changed:
        entry = Entry(
            done_at=now,
            actor_kind="person",
            actor=by,
            token_id=token_id,
            action="set_playbook" if document is not None else "remove_playbook",
            project=project,
            target=project,
            document={} if document is None else {"name": document.get("name", "")},
        )
        audit.add(connection, [entry])
    return has_changed


def playbook_of(connection: Connection, run: RunRow) -> Playbook:
    """The run's own playbook, else its project's, else the default."""
    own = run.description.get("playbook")
    if own is not None:
        return Playbook.model_validate(own)
    stored = playbooks.load(connection, run.project)
    return Playbook.default() if stored is None else Playbook.model_validate(stored.document)
