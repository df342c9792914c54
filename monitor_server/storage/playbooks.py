"""Playbooks of projects: for the runs that name none of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, delete, select

from monitor_server.storage.tables import playbooks
from monitor_server.storage.upsert import insert_or_replace


@dataclass(frozen=True, slots=True)
class StoredPlaybook:
    """A project's playbook as JSON; ``changed_at`` in seconds since 1970 (UTC)."""

    project: str
    changed_at: float
    changed_by: str
    document: Mapping[str, Any]


def load(connection: Connection, project: str, *, locked: bool = False) -> StoredPlaybook | None:
    """A project's playbook, or None; ``locked`` until the transaction ends, for who is about to change it."""
    statement = select(playbooks).where(playbooks.c.project == project)
    if locked and connection.dialect.name == "postgresql":
        statement = statement.with_for_update()
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else StoredPlaybook(**row)


def listing(connection: Connection) -> list[StoredPlaybook]:
    """Every project's playbook, by project."""
    statement = select(playbooks).order_by(playbooks.c.project)
    return [StoredPlaybook(**row) for row in connection.execute(statement).mappings()]


def save(connection: Connection, stored: StoredPlaybook) -> None:
    """Put a playbook in place of the project's former one."""
    insert_or_replace(connection, playbooks, [asdict(stored)])


def remove(connection: Connection, project: str) -> bool:
    """Let the project go by the default again; whether it had one."""
    return connection.execute(delete(playbooks).where(playbooks.c.project == project)).rowcount == 1
