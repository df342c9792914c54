"""Messages through Apprise, over real HTTP to a receiver of the test's own; its addresses stay secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from monitor_server.cli.program import program
from monitor_server.notifiers import Courier
from monitor_server.receivers import SCHEMES
from monitor_server.storage import notifications
from tests.monitor_server.notifiers.receiver import Receiver, receiving
from tests.monitor_server.service import Service, Trainer, diverge

apprise = pytest.importorskip("apprise")
# Apprise imports it for PGP, which nobody here asks for.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

SECRET = "t0psecret"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def file(receiver: Receiver, tmp_path: Path) -> Path:
    """One receiver of each kind, at the same place; Apprise's address holds a secret."""
    address = receiver.url.removeprefix("http://")
    (tmp_path / "address").write_text(f"json://ada:{SECRET}@{address}/{SECRET}")
    (tmp_path / "notify.yml").write_text(f"receivers: {{chat: {{url_file: address}}, hook: {{url: '{receiver.url}'}}}}")
    return tmp_path / "notify.yml"


def test_every_allowed_scheme_is_one_that_apprise_knows() -> None:
    known = {
        scheme
        for service in apprise.Apprise().details()["schemas"]
        for scheme in [*(service["protocols"] or ()), *(service["secure_protocols"] or ())]
    }
    assert known >= SCHEMES
    assert not {"syslog", "dbus", "windows", "macosx", "apprise", "rsyslog", "mqtt", "tweet"} & SCHEMES


def test_an_incident_arrives_as_a_title_and_a_text(
    serve: Callable[..., Service], file: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    service = serve(notify_file=str(file))
    trainer = Trainer(run="@everyone <b>")
    diverge(service, trainer, pieces=40)
    receiver.answers = [(500, {}), (500, {})]
    courier = Courier(service.database, service.settings, clock=service.clock)
    assert courier.deliver_due() == 2
    with service.database.read() as connection:
        told = notifications.of_run(connection, trainer.run_id, 10)
    assert {(one["notifier"], one["last_error"]) for one in told} == {
        ("chat", "answered 500"),
        ("hook", "answered 500"),
    }
    service.clock.now += 60
    assert courier.deliver_due() == 2
    courier.stop()
    (message,) = [json.loads(body) for body in receiver.bodies[2:] if b"notification_id" not in body]
    assert message["title"] == "demo/@\u200beveryone <\u200bb>: incident opened"
    assert "Likely cause: " in message["message"]
    assert f"/runs/{trainer.run_id}/incidents/" in message["message"]
    assert message["type"] == "warning"
    assert SECRET not in caplog.text
    assert SECRET not in str(told)


def test_the_command_tells_each_receiver_and_says_how_it_went(file: Path, receiver: Receiver) -> None:
    receiver.answers = [(204, {}), (404, {})]
    answer = CliRunner().invoke(program, ["notify", "test", "--file", str(file)])
    assert answer.exit_code == 1
    assert answer.output == "✓ chat: delivered\n✗ hook: answered 404\n"
    assert "Nothing is wrong" in receiver.bodies[0].decode()
    assert CliRunner().invoke(program, ["notify", "test", "--file", str(file), "--receiver", "hook"]).exit_code == 0


def test_the_command_says_what_is_missing(file: Path) -> None:
    answer = CliRunner().invoke(program, ["notify", "test", "--file", str(file), "--receiver", "pager"])
    assert answer.exit_code == 1
    assert "there is no receiver 'pager'; known are: chat, hook" in answer.stderr
    answer = CliRunner().invoke(program, ["notify", "test"])
    assert "TRAINGUARD_NOTIFY_FILE" in answer.stderr


def test_the_command_shows_the_routes(file: Path) -> None:
    answer = CliRunner().invoke(program, ["notify", "routes", "--file", str(file), "--project", "p"])
    assert "p, critical, opened: chat, hook\n" in answer.output
    assert "p, critical, recovering: nobody\n" in answer.output
