"""What every trainer process has sent so far: the memory that makes at-least-once into exactly once."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, delete, select

from monitor_server.storage.tables import senders
from monitor_server.storage.upsert import insert_or_replace


@dataclass(frozen=True, slots=True)
class SenderRow:
    """The highest sequence recorded, and the losses confessed so far."""

    last_sequence: int
    observations_lost: int
    first_seen_at: float


def load(connection: Connection, run_id: UUID, sender: UUID) -> SenderRow | None:
    """The sender's row, or None before its first envelope."""
    statement = select(senders.c.last_sequence, senders.c.observations_lost, senders.c.first_seen_at).where(
        senders.c.run_id == run_id, senders.c.sender == sender
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else SenderRow(*row)


def save(connection: Connection, run_id: UUID, sender: UUID, row: SenderRow, now: float) -> None:
    """Write the sender's row."""
    values = {
        "run_id": run_id,
        "sender": sender,
        "last_sequence": row.last_sequence,
        "observations_lost": row.observations_lost,
        "first_seen_at": row.first_seen_at,
        "last_seen_at": now,
    }
    insert_or_replace(connection, senders, [values])


def prune(connection: Connection, *, seen_before: float) -> int:
    """Forget trainer processes not heard of since ``seen_before``; how many."""
    return max(0, connection.execute(delete(senders).where(senders.c.last_seen_at < seen_before)).rowcount)
