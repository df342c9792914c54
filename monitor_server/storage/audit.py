"""The audit log: everything that a person or a policy commanded, who it was, and when. It outlives the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection, insert, select

from monitor_server.storage.tables import audit

ActorKind = Literal["person", "policy", "local"]
"""policy: the service's own; local: the brain of a trainer, told afterwards."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing done. ``target`` names what it was done to; ``document`` holds what was said with it."""

    done_at: float
    actor_kind: ActorKind
    actor: str
    action: str
    project: str | None = None
    run_id: UUID | None = None
    target: str = ""
    document: Mapping[str, Any] = field(default_factory=dict)
    token_id: str | None = None
    entry_id: int = 0


def add(connection: Connection, entries: Sequence[Entry]) -> None:
    """Write down what is done in this very transaction: neither happens without the other."""
    rows = [
        {
            "done_at": entry.done_at,
            "actor_kind": entry.actor_kind,
            "actor": entry.actor,
            "token_id": entry.token_id,
            "action": entry.action,
            "project": entry.project,
            "run_id": entry.run_id,
            "target": entry.target,
            "document": entry.document,
        }
        for entry in entries
    ]
    if rows:
        connection.execute(insert(audit), rows)


def listing(
    connection: Connection,
    *,
    run_id: UUID | None = None,
    project: str | None = None,
    actor_kind: str | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[Entry]:
    """Entries, the latest first; ``before`` is the number of the last one of a page."""
    statement = select(audit).order_by(audit.c.entry_id.desc()).limit(limit)
    if run_id is not None:
        statement = statement.where(audit.c.run_id == run_id)
    if project is not None:
        statement = statement.where(audit.c.project == project)
    if actor_kind is not None:
        statement = statement.where(audit.c.actor_kind == actor_kind)
    if before is not None:
        statement = statement.where(audit.c.entry_id < before)
    return [Entry(**row) for row in connection.execute(statement).mappings()]
