"""A real service on a free port, and a real browser that must have nothing to complain about."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Dialog, Page, Request, sync_playwright

from tests.browser.serving import serving
from tests.browser.story import Sender

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Where a service of the test's own answers."""
    with serving(tmp_path) as address:
        yield address


@pytest.fixture
def sender(address: str) -> Iterator[Sender]:
    with httpx.Client(base_url=address) as client:
        yield Sender(client)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Not for the session: while it lives, Playwright's event loop runs in this thread, and no async test could."""
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no Chromium is installed, and CI=true: apt-get install chromium")
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the console said."""
    return []


@pytest.fixture
def expected() -> list[str]:
    """Words of complaints that a test means to cause; they may come at any time, also after its last line."""
    return []


@pytest.fixture
def page(browser: Browser, address: str, complaints: list[str], expected: list[str]) -> Iterator[Page]:
    """A tab whose console must stay empty, and which asks nobody but the service."""
    context = browser.new_context(base_url=address, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(20_000)
    page = context.new_page()

    strangers: list[str] = []

    def asked(request: Request) -> None:
        if not request.url.startswith(address):
            strangers.append(request.url)

    def spoken_to(dialog: Dialog) -> None:
        complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"uncaught: {error}"))
    page.on("dialog", spoken_to)
    page.on("request", asked)
    yield page
    context.close()
    assert [one for one in complaints if not any(word in one for word in expected)] == []
    assert strangers == []
