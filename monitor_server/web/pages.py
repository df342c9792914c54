"""The pages: frames that the scripts fill from the API."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.staticfiles import StaticFiles

from monitor_server.web.headers import SecureHeaders
from monitor_server.web.reference import operations
from trainguard import __version__

_HERE = Path(__file__).parent
_STATIC = _HERE / "static"

_templates = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals["version"] = __version__

router = APIRouter(include_in_schema=False)


def open_pages(app: FastAPI) -> None:
    """Put the pages, their static files and the headers that guard them on ``app``."""
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    app.add_middleware(SecureHeaders)


@router.get("/")
async def list_of_runs() -> Response:
    """Every run, in a list."""
    return _page("runs.html")


@router.get("/runs/{run_id}")
async def one_run(run_id: UUID) -> Response:
    """One run; whether it exists, the script learns from the API and says."""
    return _page("run.html", run_id=str(run_id))


@router.get("/runs/{run_id}/incidents/{incident_id}")
async def one_incident(run_id: UUID, incident_id: UUID) -> Response:
    """One incident, and what a person may do about it."""
    return _page("incident.html", run_id=str(run_id), incident_id=str(incident_id))


@router.get("/fleet")
async def all_at_once() -> Response:
    """What goes wrong how often, over all runs."""
    return _page("fleet.html")


@router.get("/compare")
async def side_by_side() -> Response:
    """Several runs, named in the query, over the same steps."""
    return _page("compare.html")


@router.get("/sign-in")
async def sign_in() -> Response:
    """Where the service asks for a token."""
    return _page("sign_in.html")


@router.get("/docs")
async def reference(request: Request) -> Response:
    """The API, for people."""
    document = request.app.openapi()
    return _page("docs.html", operations=operations(document), schemas=document["components"]["schemas"])


@router.get("/favicon.ico")
async def favicon() -> Response:
    """Browsers ask for it here, whatever the page says."""
    return FileResponse(_STATIC / "favicon.svg", media_type="image/svg+xml")


def _page(name: str, **told: object) -> Response:
    return HTMLResponse(_templates.get_template(name).render(**told), headers={"cache-control": "no-cache"})
