"""The list of runs where there are thousands: how long a person waits for it.

python -m tests.browser.many_runs [RUNS]    # from the project's root; default: 5000. Prints the figures.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from playwright.sync_api import Page, expect, sync_playwright

from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.browser.serving import serving
from tests.browser.story import Sender

DRAWN = 200
"""The latest so many have their steps too; of the others nobody sees a line here."""

WAIT_MS = 30_000


def fill(database: Path, run_id: str, runs: int) -> None:
    """Copies of a run, the latest with its steps, straight into the file: through the door they would take minutes.

    They are named ``run-0000``, ``run-0001``, …, the latest has the highest number, and each its number as the tag
    ``seed``.
    """
    with sqlite3.connect(database) as connection:
        copied = [row[1] for row in connection.execute("PRAGMA table_info(runs)")]
        told = {
            "run_id": "printf('%032x', number + 1)",
            "name": "printf('run-%04d', number)",
            "registered_at": "registered_at - :runs + number",
            "project": "printf('project-%d', number % 20)",
            "description": "json_set(description, '$.tags.seed', printf('%d', number))",
        }
        connection.execute(
            "WITH RECURSIVE counted(number) AS "
            "(SELECT 0 UNION ALL SELECT number + 1 FROM counted WHERE number + 1 < :runs)"
            f" INSERT INTO runs ({', '.join(copied)}) SELECT {', '.join(told.get(name, name) for name in copied)}"
            " FROM runs, counted WHERE run_id = :run_id",
            {"runs": runs, "run_id": run_id},
        )
        connection.execute(
            "INSERT INTO observations (run_id, attempt, step, observed_at, judged, loss) "
            "SELECT copy.run_id, 0, step, observed_at, 1, loss + (copy.registered_at % 10) / 10 "
            "FROM observations, runs AS copy WHERE observations.run_id = ? AND copy.name >= ? AND copy.run_id <> ?",
            (run_id, f"run-{max(0, runs - DRAWN):04}", run_id),
        )
        for table in ("attempts", "run_tags"):
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            values = ", ".join("copy.run_id" if name == "run_id" else f"{table}.{name}" for name in names)
            connection.execute(
                f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table}, runs AS copy "
                f"WHERE {table}.run_id = ? AND copy.run_id <> ?",
                (run_id, run_id),
            )
        connection.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))


def measured(page: Page, address: str, runs: int) -> dict[str, float]:
    """Seconds that a person waits, and the size of what comes over the wire, in KiB."""
    last = f"run-{runs - 1:04}"
    names = page.locator(".run .name")

    def seconds(do: Callable[[], object]) -> float:
        began = time.perf_counter()
        do()
        return time.perf_counter() - began

    def first_rows() -> None:
        page.goto(address, wait_until="commit")
        expect(names.first).to_have_text(last, timeout=WAIT_MS)

    def turn() -> None:
        page.get_by_role("button", name="Older").click()
        expect(names.first).to_have_text(f"run-{runs - 51:04}", timeout=WAIT_MS)

    def search() -> None:
        page.get_by_label("Find runs").fill("run-0042")
        expect(names).to_have_text(["run-0042"], timeout=WAIT_MS)

    def search_tag() -> None:
        page.get_by_label("Find runs").fill("seed=77")
        expect(names).to_have_text(["run-0077"], timeout=WAIT_MS)

    figures = {
        "first rows, s": seconds(first_rows),
        "next page, s": seconds(turn),
        "found by name, s": seconds(search),
        "found by tag, s": seconds(search_tag),
    }
    page.get_by_label("Find runs").fill("")
    expect(names).to_have_count(50, timeout=WAIT_MS)
    figures["longest frame while scrolling, s"] = page.evaluate(SCROLL) / 1000
    answer = httpx.get(f"{address}/api/v1/runs?limit=50&loss_points=60").raise_for_status()
    figures["answer of a page, KiB"] = len(answer.content) / 1024
    figures["rows in the page"] = page.locator(".run").count()
    return figures


SCROLL = """async () => {
    let longest = 0, before = performance.now();
    for (let y = 0; y < document.body.scrollHeight; y += 120) {
        scrollTo(0, y);
        await new Promise((resolve) => requestAnimationFrame(resolve));
        const now = performance.now();
        longest = Math.max(longest, now - before);
        before = now;
    }
    scrollTo(0, 0);
    return longest;
}"""


def main() -> int:
    """Fill a service, look at it, print the figures; the exit status."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    with tempfile.TemporaryDirectory() as scratch, serving(Path(scratch)) as address:
        with httpx.Client(base_url=address) as client:
            pattern = Sender(client).healthy_run(run="pattern")
        fill(Path(scratch) / "trainguard.db", pattern.run_id.hex, runs)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            for name, figure in measured(page, address, runs).items():
                print(f"{name:34} {figure:.3g}")
            browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
