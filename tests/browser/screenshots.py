"""Pictures of the page for the documentation: the real service, told a story, in a real Chromium.

python -m tests.browser.screenshots [FOLDER [NAME …]]    # from the project's root; default: docs/images, all of them
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.browser.serving import serving
from tests.browser.showcase import gallery
from tests.browser.story import Sender

WIDE = {"width": 1280, "height": 860}
NARROW = {"width": 400, "height": 860}


def main() -> int:
    """Take every picture; the exit status."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")
    folder.mkdir(parents=True, exist_ok=True)
    if CHROMIUM is None:
        print("no Chromium is installed: apt-get install chromium")
        return 1
    with tempfile.TemporaryDirectory() as scratch, serving(Path(scratch)) as address:
        with httpx.Client(base_url=address) as client:
            rescued, waiting = gallery(Sender(client))
            incidents = client.get(f"/api/v1/runs/{waiting.run_id}/incidents").json()["incidents"]
        run = f"/runs/{rescued.run_id}"
        incident = f"/runs/{waiting.run_id}/incidents/{incidents[0]['incident_id']}"
        pictures = {
            "run-top": (run, "light", WIDE),
            "incident-top": (incident, "dark", WIDE),
            "runs": ("/", "light", WIDE),
            "run": (run, "light", WIDE),
            "run-dark": (run, "dark", WIDE),
            "run-narrow": (run, "dark", NARROW),
            "incident": (incident, "light", WIDE),
            "incident-dark": (incident, "dark", WIDE),
            "fleet": ("/fleet", "light", WIDE),
            "compare": (f"/compare?run={rescued.run_id}&run={waiting.run_id}", "light", WIDE),
        }
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            for name, (path, scheme, size) in pictures.items():
                if sys.argv[2:] and name not in sys.argv[2:]:
                    continue
                page = browser.new_page(
                    base_url=address,
                    viewport=size,
                    color_scheme=scheme,
                    device_scale_factor=1.5,
                    reduced_motion="reduce",
                )
                _take(page, path, folder / f"{name}.png")
                page.close()
            browser.close()
    return 0


def _take(page: Page, path: str, target: Path) -> None:
    page.goto(path)
    page.locator("body[data-drawn]").wait_for()
    page.screenshot(path=target, full_page=not target.stem.endswith("-top"))
    with Image.open(target) as picture:  # a third of the size, and the eye sees no difference
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)
    print(target)


if __name__ == "__main__":
    raise SystemExit(main())
