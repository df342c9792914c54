"""The runs, in a list and one by one."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response

from monitor_server.answers import RunDetail, RunPage
from monitor_server.api.cursors import MOST_CURSOR, read_run_cursor, run_cursor
from monitor_server.api.service import PREFIX, Reading, answer
from monitor_server.api.summaries import detail, summaries
from monitor_server.storage import runs
from monitor_server.storage.runs import SortKey

router = APIRouter(prefix=PREFIX, tags=["runs"])

State = Literal["running", "silent", "finished", "halted", "failed"]


@router.get("/runs", response_model=RunPage)
def list_runs(
    service: Reading,
    state: Annotated[list[State] | None, Query(description="May be given several times.")] = None,
    project: str | None = None,
    name: Annotated[str | None, Query(description="The run's whole name.")] = None,
    search: Annotated[
        str, Query(description="Words of name, project or tags, or `key=value` for a tag.", max_length=200)
    ] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    tag: Annotated[
        list[str] | None, Query(description="`name` or `name=value`; all that are given must fit.", max_length=16)
    ] = None,
    archived: Annotated[
        Literal["no", "only", "too"], Query(description="Whether those that were put away are listed.")
    ] = "no",
    sort: Annotated[SortKey, Query(description="What to sort by.")] = "registered_at",
    order: Annotated[
        Literal["descending", "ascending"], Query(description="The latest first, or last.")
    ] = "descending",
    cursor: Annotated[
        str | None, Query(description="`next` of the page before, of the same order.", max_length=MOST_CURSOR)
    ] = None,
    loss_points: Annotated[int, Query(ge=0, le=200, description="Points of recent loss per run.")] = 0,
) -> Response:
    """Runs, the latest registered first unless told otherwise."""
    with service.database.read() as connection:
        rows = runs.listing(
            connection,
            project=service.only(project),
            name=name,
            states=state or (),
            search=search,
            tags=[_tag(one) for one in tag or ()],
            is_archived={"no": False, "only": True, "too": None}[archived],
            sort=sort,
            is_ascending=order == "ascending",
            beyond=read_run_cursor(cursor, sort) if cursor is not None else None,
            limit=limit + 1,
        )
        page = rows[:limit]
        further = run_cursor(getattr(page[-1], sort), page[-1].run_id) if len(rows) > limit else None
        return answer(RunPage(runs=summaries(connection, page, loss_points=loss_points), next=further))


@router.get("/runs/{run_id}", response_model=RunDetail)
def show_run(run_id: UUID, service: Reading) -> Response:
    """One run with its description."""
    with service.reading(run_id) as (connection, row):
        return answer(detail(connection, row))


def _tag(word: str) -> tuple[str, str | None]:
    name, has_value, value = word.partition("=")
    return name.strip(), value.strip() if has_value else None
