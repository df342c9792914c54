"""The audit log: who did what, and when."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response

from monitor_server.answers import Audit, AuditEntry
from monitor_server.api.cursors import entry_cursor, read_entry_cursor
from monitor_server.api.service import PREFIX, Administering, answer
from monitor_server.storage import audit

router = APIRouter(prefix=PREFIX, tags=["audit"])


@router.get("/audit", response_model=Audit)
def list_audit(
    service: Administering,
    run_id: UUID | None = None,
    project: Annotated[str | None, Query(max_length=200)] = None,
    actor_kind: Literal["person", "policy", "local"] | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(description="`next` of the page before.", max_length=200)] = None,
) -> Response:
    """Everything that a person or a policy commanded, the latest first. It outlives the runs it tells of."""
    with service.database.read() as connection:
        found = audit.listing(
            connection,
            run_id=run_id,
            project=service.only(project),
            actor_kind=actor_kind,
            before=read_entry_cursor(cursor) if cursor is not None else None,
            limit=limit + 1,
        )
    page = found[:limit]
    further = entry_cursor(page[-1].entry_id) if len(found) > limit else None
    return answer(Audit(entries=[AuditEntry.model_validate(asdict(one)) for one in page], next=further))
