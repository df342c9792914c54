"""What every trainer process has sent so far: the memory that makes at-least-once into exactly once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def load(connection: Connection, keys: Iterable[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], SenderRow]:
    """The rows of these (run, sender), in one question; one that has sent nothing yet is absent."""
    wanted = set(keys)
    # Two lists and not a list of pairs: SQLite finds only the former by the key.
    statement = select(senders).where(
        senders.c.run_id.in_({run_id for run_id, _ in wanted}), senders.c.sender.in_({sender for _, sender in wanted})
    )
    return {
        (row.run_id, row.sender): SenderRow(row.last_sequence, row.observations_lost, row.first_seen_at)
        for row in connection.execute(statement)
        if (row.run_id, row.sender) in wanted
    }


def save_all(connection: Connection, rows: Mapping[tuple[UUID, UUID], SenderRow], now: float) -> None:
    """Write the rows of these (run, sender)."""
    values = [
        {
            "run_id": run_id,
            "sender": sender,
            "last_sequence": row.last_sequence,
            "observations_lost": row.observations_lost,
            "first_seen_at": row.first_seen_at,
            "last_seen_at": now,
        }
        for (run_id, sender), row in rows.items()
    ]
    insert_or_replace(connection, senders, values)


def prune(connection: Connection, *, seen_before: float) -> int:
    """Forget trainer processes not heard of since ``seen_before``; how many."""
    return max(0, connection.execute(delete(senders).where(senders.c.last_seen_at < seen_before)).rowcount)
