"""Remarks: what people said and did about an incident."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection, select

from monitor_server.storage.tables import remarks
from monitor_server.storage.upsert import insert_new

RemarkKind = Literal["acknowledged", "comment", "approved", "declined", "resolved"]


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that a person said or did; ``made_at`` in seconds since 1970 (UTC)."""

    run_id: UUID
    incident_id: UUID
    remark_id: UUID
    kind: RemarkKind
    made_at: float
    made_by: str
    comment: str


def add(connection: Connection, remark: Remark) -> None:
    """Record a remark."""
    insert_new(connection, remarks, [asdict(remark)])


def of_incident(connection: Connection, run_id: UUID, incident_id: UUID) -> list[Remark]:
    """Every remark on an incident, in the order of time."""
    statement = (
        select(remarks)
        .where(remarks.c.run_id == run_id, remarks.c.incident_id == incident_id)
        .order_by(remarks.c.made_at, remarks.c.remark_id)
    )
    return [Remark(**row) for row in connection.execute(statement).mappings()]


def acknowledged(connection: Connection, named: Iterable[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], Remark]:
    """For each of these (run, incident) that somebody has acknowledged, who did first."""
    wanted = set(named)
    statement = (
        select(remarks)
        .where(remarks.c.incident_id.in_({incident_id for _, incident_id in wanted}), remarks.c.kind == "acknowledged")
        .order_by(remarks.c.made_at.desc(), remarks.c.remark_id)
    )
    found = (Remark(**row) for row in connection.execute(statement).mappings())
    return {(one.run_id, one.incident_id): one for one in found if (one.run_id, one.incident_id) in wanted}
