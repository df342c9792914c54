"""A file of receivers and routes: who is told what, and every mistake in one sentence that repeats no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor_server.receivers import ReceiversError, read_address_book
from monitor_server.settings import SettingsError, read_settings

FILE = """
receivers:
  chat:
    url: slack://TokenA/TokenB/TokenC
  on-call:
    url_file: pager
  archive:
    url: https://archive.example/hook
    secret: s3cret
routes:
  - to: [archive]
    events: [opened, recovering, recovered, resolved, escalated]
  - to: [chat]
    projects: [language, vision]
  - to: [on-call]
    severities: [critical]
    events: [escalated, needs_approval]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "pager").write_text("pagerduty://Integration@Routing\n")
    (tmp_path / "notify.yml").write_text(FILE)
    return tmp_path / "notify.yml"


@pytest.mark.parametrize(
    ("project", "severity", "event", "told"),
    [
        ("language", "warning", "opened", ("chat", "archive")),
        ("speech", "warning", "opened", ("archive",)),
        ("language", "critical", "escalated", ("chat", "on-call", "archive")),
        ("speech", "critical", "needs_approval", ("on-call",)),
        ("speech", "info", "recovering", ("archive",)),
        ("speech", "info", "silent", ()),
    ],
)
def test_every_route_that_fits_is_followed(
    file: Path, project: str, severity: str, event: str, told: tuple[str, ...]
) -> None:
    assert read_address_book(file).told_of(project, severity, event) == told  # type: ignore[arg-type]


def test_the_webhook_of_the_settings_is_told_everything_beside_the_file(file: Path) -> None:
    settings = read_settings({"notify_file": str(file), "webhook_url": "http://127.0.0.1:9/"}, {})
    assert settings.notifiers == ("webhook", "chat", "on-call", "archive")
    assert settings.address_book.told_of("speech", "info", "silent") == ("webhook",)


def test_no_secret_is_shown(file: Path) -> None:
    book = read_address_book(file)
    assert [receiver.kind for receiver in book.receivers] == ["apprise", "apprise", "webhook"]
    for secret in ("TokenA", "Integration", "s3cret", "archive.example"):
        assert secret not in repr(book)
        assert secret not in repr(read_settings({"notify_file": str(file)}, {}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("receivers: {x: {url: 'file:///s3cret'}}", r"receivers\.x: scheme 'file' is not allowed; allowed are http"),
        ("receivers: {x: {url: 's3cret'}}", r"receivers\.x: this address is not allowed"),
        ("receivers: {x: {}}", "has no address; give url, or url_file"),
        ("receivers: {x: {url: 'https:///s3cret'}}", "is no web address"),
        ("receivers: {x: {url: 'slack://s3cret', url_file: y}}", "has both url and url_file"),
        ("receivers: {x: {url: 'slack://s3cret', secret: y}}", "Apprise has none"),
        ("receivers: {x: {url_file: nowhere}}", r"receivers\.x\.url_file: .*nowhere cannot be read"),
        ("receivers: {webhook: {url: 'http://s3cret/'}}", "this name belongs to TRAINGUARD_WEBHOOK_URL"),
        ("receivers: {x: {url: 'http://h/', colour: s3cret}}", r"receivers\.x\.colour: Extra inputs"),
        ("receivers: {x: {url: 'http://h/'}}\nroutes: [{to: [y]}]", r"routes\.0\.to: there is no receiver 'y'"),
        ("receivers: {x: {url: 'http://h/'}}\nroutes: [{to: [x], events: [s3cret]}]", r"routes\.0\.events\.0"),
        ("receivers: [", "is no YAML"),
        ("s3cret", "the file"),
    ],
)
def test_a_mistake_names_its_place_and_repeats_no_secret(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "notify.yml").write_text(text)
    with pytest.raises(ReceiversError, match=words) as caught:
        read_address_book(tmp_path / "notify.yml")
    assert "s3cret" not in str(caught.value)


def test_a_bad_file_keeps_the_service_from_starting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings({}, {"TRAINGUARD_NOTIFY_FILE": str(tmp_path / "nowhere.yml")})
