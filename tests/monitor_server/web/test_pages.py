"""The frames of the pages, their headers, and the files they name."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor_server import web
from monitor_server.settings import Settings
from tests.monitor_server.api.door import Door, opened, problem
from tests.monitor_server.service import Clock

STATIC = Path(web.__file__).parent / "static"
RUN = "/runs/0f8fad5b-d9cb-469f-a165-70867728950e"
PAGES = ("/", RUN, f"{RUN}/incidents/7c9e6679-7425-40de-944b-e07fc1f90ae7", "/fleet", "/compare", "/sign-in", "/docs")


@pytest.fixture
async def door(migrated_sqlite: Path, tmp_path: Path, clock: Clock) -> AsyncIterator[Door]:
    shutil.copyfile(migrated_sqlite, tmp_path / "trainguard.db")
    async with opened(Settings(database=f"sqlite:///{tmp_path / 'trainguard.db'}"), clock) as door:
        yield door


@pytest.mark.parametrize("page", PAGES)
async def test_every_file_that_a_page_names_is_served_by_us(door: Door, page: str) -> None:
    response = await door.client.get(page)
    assert response.status_code == 200
    named = re.findall(r'(?:src|href)="(/[^"#]*)"', response.text)
    assert any(name.startswith("/static/page.css") for name in named)
    for name in named:
        assert (await door.client.get(name)).status_code == 200, name
    assert not re.search(r'(?:src|href)="(?:[a-z]+:|//)', response.text)


@pytest.mark.parametrize("page", PAGES)
async def test_no_page_needs_what_the_policy_forbids(door: Door, page: str) -> None:
    response = await door.client.get(page)
    policy = response.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", response.text)


@pytest.mark.parametrize("path", [*PAGES, "/api/v1/runs", "/nothing", "/static/page.css", "/metrics"])
async def test_every_answer_is_guarded(door: Door, path: str) -> None:
    headers = (await door.client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


async def test_the_page_of_a_run_is_asked_for_by_its_id(door: Door) -> None:
    problem(await door.client.get("/runs/<script>"), 422, "invalid_request")


async def test_there_is_an_icon(door: Door) -> None:
    for path in ("/favicon.ico", "/static/favicon.svg"):
        response = await door.client.get(path)
        assert (response.status_code, response.headers["content-type"]) == (200, "image/svg+xml")


async def test_the_reference_tells_of_every_route(door: Door) -> None:
    page = (await door.client.get("/docs")).text
    for path in (await door.client.get("/openapi.json")).json()["paths"]:
        assert path in page


@pytest.mark.parametrize("module", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_what_a_module_imports_is_there_and_exports_it(module: Path) -> None:
    for names, source in re.findall(r'import \{ ([^}]*) \} from "\./([^"]+)"', module.read_text()):
        exported = re.findall(r"export (?:async )?(?:function\*?|class|const) (\w+)", (STATIC / source).read_text())
        assert {name.strip() for name in names.split(",")} <= set(exported)


@pytest.mark.parametrize("module", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_no_module_makes_markup_of_text(module: Path) -> None:
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", module.read_text())


def test_what_is_not_ours_keeps_its_licence() -> None:
    for folder in (STATIC / "vendor").iterdir():
        assert "Copyright" in (folder / "LICENSE").read_text()
