"""The page in a real browser: it lists, draws, follows, and keeps quiet."""

from __future__ import annotations

import math

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.story import Sender, healthy
from tests.monitor_server.service import Trainer

SCRIPT = '<script>alert("run")</script>'
IMAGE = '<img src="x" onerror="alert(1)">'

DRAWN = """([selector, name]) => {
    const wanted = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    probe.fillStyle = wanted;
    probe.fillRect(0, 0, 1, 1);
    const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
    const canvas = document.querySelector(selector);
    probe.canvas.width = canvas.width;
    probe.canvas.height = canvas.height;
    probe.drawImage(canvas, 0, 0);
    const pixels = probe.getImageData(0, 0, canvas.width, canvas.height).data;
    let count = 0;
    for (let i = 0; i < pixels.length; i += 4)
        if (pixels[i] === red && pixels[i + 1] === green && pixels[i + 2] === blue && pixels[i + 3] > 200) count += 1;
    return count;
}"""
"""Pixels of a canvas in the colour of a CSS variable."""


def pixels(page: Page, colour: str, canvas: str = "#loss-chart canvas") -> int:
    return int(page.evaluate(DRAWN, [canvas, colour]))


def test_before_the_first_run_the_page_says_how_to_begin(page: Page, address: str) -> None:
    page.goto("/")
    expect(page.get_by_text("No run has reported yet")).to_be_visible()
    expect(page.locator("#server-address")).to_have_text(f'"{address}"')


def test_every_run_is_listed_with_its_state_loss_and_line(page: Page, sender: Sender) -> None:
    sender.healthy_run(run="calm", project="demo")
    rescued = sender.rescued_run(run="rescued", project="demo")
    lost = Trainer(run="lost", mode="observe")
    sender.register(lost)
    sender.train(lost, [healthy(step) for step in range(50)] + [math.nan])
    sender.send(lost.envelope(state="failed"))
    page.goto("/")
    rows = page.locator(".run")
    expect(rows).to_have_count(3)
    calm = rows.filter(has_text="calm")
    expect(calm).to_contain_text("running")
    expect(calm).to_contain_text("200 / 600 steps")
    expect(calm.locator(".sparkline path")).to_have_count(1)
    assert len(str(calm.locator(".sparkline path").get_attribute("d"))) > 200
    expect(rows.filter(has_text="rescued")).to_contain_text("1 rollback")
    failed = rows.filter(has_text="lost")
    expect(failed).to_contain_text("failed")
    expect(failed).to_contain_text("NaN")
    expect(failed.locator(".sparkline .lost")).to_have_count(1)

    page.get_by_role("button", name="Ended").click()
    expect(rows).to_have_count(1)
    page.get_by_role("button", name="Running").click()
    expect(rows).to_have_count(2)
    rows.filter(has_text="rescued").locator(".name").click()
    page.wait_for_url(f"**/runs/{rescued.run_id}")
    expect(page.locator("h1")).to_have_text("rescued")


def test_a_run_is_drawn_with_its_abandoned_attempt_and_told_in_sentences(page: Page, sender: Sender) -> None:
    trainer = sender.rescued_run(run="rescued")
    page.goto(f"/runs/{trainer.run_id}")
    expect(page.locator(".facts")).to_contain_text("500 / 600")
    expect(page.locator(".facts")).to_contain_text("×0.5")
    expect(page.locator("#loss-chart canvas")).to_be_visible()
    assert pixels(page, "--kept") > 500
    assert pixels(page, "--abandoned") > 20
    assert pixels(page, "--incident") > 20
    assert pixels(page, "--attempt") > 20
    assert pixels(page, "--dots") > 20
    expect(page.locator("#loss-chart .u-legend")).to_contain_text("val_loss")
    story = page.locator("#story")
    expect(story).to_contain_text("Divergence")
    expect(story).to_contain_text("Roll back to the confirmed checkpoint of step 200")
    expect(story).to_contain_text("Recovered: at step")
    expect(page.locator("#attempts")).to_contain_text("Attempt 0 began at step 0; kept up to step 199.")
    expect(page.locator("#attempts")).to_contain_text("Attempt 1 by rollback at step 200; in force.")
    expect(page.locator("#checkpoints li")).to_have_count(3)
    expect(page.locator("#small-charts canvas")).to_have_count(3)
    page.get_by_role("button", name="Log", exact=True).click()
    assert pixels(page, "--kept") > 500


def test_a_healthy_run_has_nothing_in_grey_and_no_story(page: Page, sender: Sender) -> None:
    trainer = sender.healthy_run(run="calm")
    page.goto(f"/runs/{trainer.run_id}")
    expect(page.locator("#story")).to_contain_text("The run has had no incident")
    assert pixels(page, "--kept") > 500
    assert pixels(page, "--abandoned") == pixels(page, "--dots") == 0


def test_new_steps_appear_by_themselves(page: Page, sender: Sender) -> None:
    trainer = sender.healthy_run(run="going on")
    page.goto(f"/runs/{trainer.run_id}")
    expect(page.locator(".facts")).to_contain_text("200 / 600")
    sender.train(trainer, [healthy(step) for step in range(200, 260)])
    expect(page.locator(".facts")).to_contain_text("260 / 600")


def test_the_list_hears_of_new_steps_without_asking_again(page: Page, sender: Sender) -> None:
    trainer = sender.healthy_run(run="going on")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/api/v1/runs?" in request.url else None)
    page.goto("/")
    row = page.locator(".run")
    expect(row).to_contain_text("200 / 600")
    line = row.locator(".sparkline path").get_attribute("d")
    for made in range(220, 560, 20):
        before = len(asked)
        sender.train(trainer, [healthy(step) for step in range(made - 20, made)])
        expect(row).to_contain_text(f"{made} / 600", timeout=40_000)
        if len(asked) == before:
            break
    else:
        pytest.fail("the list was read anew for every step")
    assert row.locator(".sparkline path").get_attribute("d") != line

    # A run that is new, and one that ends, are told of at once: then the list is read again.
    sender.healthy_run(run="another")
    expect(page.locator(".run")).to_have_count(2, timeout=30_000)
    sender.send(trainer.envelope(state="finished"))
    expect(page.locator(".run").filter(has_text="going on")).to_contain_text("finished", timeout=30_000)


def test_a_hidden_tab_asks_nothing_and_a_shown_one_asks_at_once(page: Page, sender: Sender) -> None:
    trainer = sender.healthy_run(run="unwatched")
    page.clock.install()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/api/" in request.url else None)
    page.goto("/")
    expect(page.locator(".run")).to_contain_text("200 / 600")
    page.evaluate(
        "Object.defineProperty(document, 'hidden', { get: () => window.isAway, configurable: true });"
        "window.isAway = true; document.dispatchEvent(new Event('visibilitychange'));"
    )
    before = len(asked)
    page.clock.run_for(60_000)
    assert len(asked) == before
    sender.train(trainer, [healthy(step) for step in range(200, 210)])
    page.evaluate("window.isAway = false; document.dispatchEvent(new Event('visibilitychange'));")
    expect(page.locator(".run")).to_contain_text("210 / 600")


def test_a_name_is_only_a_name(page: Page, sender: Sender) -> None:
    trainer = sender.rescued_run(run=SCRIPT, project=IMAGE, hostname=IMAGE, tags={"<b>tag</b>": SCRIPT})
    page.goto("/")
    expect(page.locator(".run .name")).to_have_text(SCRIPT)
    expect(page.locator(".run .who")).to_contain_text(IMAGE)
    page.locator(".run .name").click()
    page.wait_for_url(f"**/runs/{trainer.run_id}")
    expect(page.locator("h1")).to_have_text(SCRIPT)
    expect(page).to_have_title(f"{SCRIPT} · trainguard")
    expect(page.locator("#about")).to_contain_text("<b>tag</b>")
    assert page.locator("main img, main script, #about b").count() == 0


def test_an_unknown_run_is_said_to_be_unknown(page: Page, expected: list[str]) -> None:
    # The browser itself tells its console of every 404.
    expected.append("404")
    page.goto("/runs/00000000-0000-4000-8000-000000000000")
    expect(page.get_by_role("status")).to_contain_text("is not registered here")


def test_a_service_that_went_away_is_said_to_be_away_until_it_comes_back(
    page: Page, sender: Sender, expected: list[str]
) -> None:
    expected.append("net::ERR_FAILED")
    sender.healthy_run(run="calm")
    page.goto("/")
    expect(page.locator(".run")).to_have_count(1)
    page.route("**/api/**", lambda route: route.abort())
    page.get_by_role("button", name="Running").click()  # the stream that is open goes on, so that somebody has to ask
    expect(page.get_by_role("status")).to_contain_text("does not answer")
    expect(page.locator(".run")).to_have_count(1)
    page.unroute("**/api/**")
    expect(page.get_by_role("status")).to_be_hidden()


def test_it_fits_a_telephone_in_the_dark(browser: Browser, address: str, sender: Sender) -> None:
    trainer = sender.rescued_run(run="a-name-" * 20, project="p" * 200, tags={"tag": "w" * 300})
    context = browser.new_context(base_url=address, viewport={"width": 400, "height": 800}, color_scheme="dark")
    page = context.new_page()
    grounds = set()
    for path, ready in (("/", ".run"), (f"/runs/{trainer.run_id}", "#loss-chart canvas"), ("/docs", ".operation")):
        page.goto(path)
        expect(page.locator(ready).first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, path
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    page.emulate_media(color_scheme="light")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") not in grounds
    context.close()


def test_the_reference_opens_and_its_links_lead_somewhere(page: Page) -> None:
    page.goto("/docs")
    expect(page.get_by_text("/api/v1/runs/{run_id}/envelopes")).to_be_visible()
    targets = page.locator(".operation a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    for target in set(targets):
        assert page.locator(target).count() == 1, target
