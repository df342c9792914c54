"""Playbooks of projects: what is done about which trouble, for the runs that bring none of their own."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response
from pydantic import JsonValue, RootModel, ValidationError
from starlette.concurrency import run_in_threadpool

from monitor_server.answers import CheckedPlaybook, ProjectPlaybook, ProjectPlaybooks
from monitor_server.api.bodies import read_model
from monitor_server.api.etags import PRECONDITION, refuse_stale, tagged
from monitor_server.api.openapi import takes
from monitor_server.api.problems import Problem, invalid
from monitor_server.api.service import PREFIX, Administering, Reading, Service, answer
from monitor_server.pipeline import set_playbook
from monitor_server.storage import playbooks
from monitor_server.storage.playbooks import StoredPlaybook
from trainguard.playbooks import tell_playbook
from trainguard.policy import Playbook

router = APIRouter(prefix=PREFIX, tags=["playbooks"])

ProjectPath = Annotated[str, Path(min_length=1, max_length=200)]


class PlaybookDocument(RootModel[dict[str, JsonValue]]):
    """A playbook as JSON; its keys are those of `trainguard playbook show default --yaml`.

    ``{"extends": "default"}`` is the shortest one.
    """


@router.get("/playbooks", response_model=ProjectPlaybooks)
def list_playbooks(service: Reading) -> Response:
    """The playbooks of all projects that have one."""
    with service.database.read() as connection:
        found = [one for one in playbooks.listing(connection) if service.caller.may_see(one.project)]
    return answer(ProjectPlaybooks(playbooks=[_told(one) for one in found]))


@router.post("/playbooks/check", response_model=CheckedPlaybook, openapi_extra=takes(PlaybookDocument))
async def check_playbook(request: Request, service: Reading) -> Response:
    """Say in plain words what a playbook would do, or what is wrong with it; nothing is stored."""
    playbook = _valid((await read_model(request, PlaybookDocument, "invalid_playbook", service.settings)).root)
    return answer(CheckedPlaybook(name=playbook.name, words=list(tell_playbook(playbook)), document=_whole(playbook)))


@router.get("/playbooks/{project:path}", response_model=ProjectPlaybook)
def show_playbook(
    project: ProjectPath, service: Reading, if_none_match: Annotated[str, Header(max_length=1000)] = ""
) -> Response:
    """A project's playbook, with its ETag."""
    with service.database.read() as connection:
        found = playbooks.load(connection, service.only(project) or project)
    if found is None:
        raise _unknown(project)
    return tagged(_told(found), if_none_match)


@router.put(
    "/playbooks/{project:path}",
    response_model=ProjectPlaybook,
    responses=PRECONDITION,
    openapi_extra=takes(PlaybookDocument),
)
async def put_playbook(
    project: ProjectPath,
    request: Request,
    service: Administering,
    if_match: Annotated[str, Header(max_length=1000)] = "",
) -> Response:
    """Let the project's runs go by this playbook, from their next trouble on. A run's own playbook beats it.

    It is what the service decides by; a trainer that the service does not reach goes by its own.
    """
    playbook = _valid((await read_model(request, PlaybookDocument, "invalid_playbook", service.settings)).root)
    service.only(project)
    return tagged(await run_in_threadpool(_put, service, project, _whole(playbook), if_match))


@router.delete("/playbooks/{project:path}", status_code=204, response_class=Response)
def remove_playbook(project: ProjectPath, service: Administering) -> Response:
    """Let the project's runs go by the default playbook again."""
    service.only(project)
    caller = service.caller
    with service.database.write() as connection:
        if not set_playbook(
            connection, project, None, by=caller.signed(""), now=service.clock(), token_id=caller.token_id
        ):
            raise _unknown(project)
    return Response(status_code=204)


def _put(service: Service, project: str, document: dict[str, Any], if_match: str) -> ProjectPlaybook:
    caller = service.caller
    with service.database.write() as connection:
        known = playbooks.load(connection, project, locked=True)
        if if_match:
            if known is None:
                raise _unknown(project)
            refuse_stale(_told(known), if_match)
        now = service.clock()
        set_playbook(connection, project, document, by=caller.signed(""), now=now, token_id=caller.token_id)
        stored = playbooks.load(connection, project)
    assert stored is not None, "it was written in this transaction"
    return _told(stored)


def _valid(given: dict[str, JsonValue]) -> Playbook:
    try:
        return Playbook.model_validate(given)
    except ValidationError as error:
        raise invalid("invalid_playbook", error.errors(include_url=False, include_input=False)) from None


def _whole(playbook: Playbook) -> dict[str, Any]:
    # Without `extends`: what is stored today must mean the same after the default has changed.
    return playbook.model_dump(mode="json")


def _told(one: StoredPlaybook) -> ProjectPlaybook:
    return ProjectPlaybook(
        project=one.project, changed_at=one.changed_at, changed_by=one.changed_by, document=dict(one.document)
    )


def _unknown(project: str) -> Problem:
    return Problem(
        404, "unknown_playbook", f"project {project!r} has no playbook of its own; its runs go by the default"
    )
