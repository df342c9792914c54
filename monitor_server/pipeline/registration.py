"""Registration: a trainer introduces its run, or comes back with it."""

from __future__ import annotations

from dataclasses import replace

from pydantic import ValidationError
from sqlalchemy import Connection

from monitor_server.pipeline.broadcast import of_run
from monitor_server.pipeline.refusals import DescriptionRefused
from monitor_server.storage import RunRow, events, notes, runs
from trainguard.policy import Playbook
from trainguard.wire import RunDescription


def register_run(connection: Connection, description: RunDescription, now: float) -> tuple[RunRow, bool]:
    """Add the run, or renew the description of a known one; the row, and whether it is new.

    A run that was put away is fetched back.
    Raises `DescriptionRefused` for a playbook that makes no sense: said now, not at the first incident.
    """
    if description.playbook is not None:
        try:
            Playbook.model_validate(description.playbook)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            path = ".".join(("playbook", *(str(part) for part in first["loc"])))
            raise DescriptionRefused(path, str(first["msg"]).removeprefix("Value error, ")) from None
    row, is_new = runs.register(connection, description, now)
    said = notes.of_runs(connection, [row.run_id]).get(row.run_id)
    notes.index_tags(connection, row.run_id, {**description.tags, **(said.tags if said else {})})
    if is_new:
        events.add(connection, [of_run(row, now)])
    elif said is not None and said.archived_at is not None:
        # What trains again is not put away any more: its trouble must not be where nobody looks.
        notes.save(connection, replace(said, archived_at=None))
        events.add(connection, [of_run(row, now, tags=said.tags, notes=said.notes, archived_at=None)])
    return row, is_new
