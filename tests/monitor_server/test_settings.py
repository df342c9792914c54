"""What was given beats the environment, which beats the defaults; every mistake is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor_server.settings import Settings, SettingsError, read_settings


def test_arguments_beat_the_environment_which_beats_the_defaults() -> None:
    environment = {"TRAINGUARD_PORT": "9000", "TRAINGUARD_LEASE_SECONDS": "5", "TRAINGUARD_HOST": "", "PORT": "1"}
    read = read_settings({"port": 9001, "host": None}, environment)
    assert (read.port, read.lease_seconds, read.host) == (9001, 5.0, "127.0.0.1")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"TRAINGUARD_PORT": "ninety"}, r"port \(or TRAINGUARD_PORT\)"),
        ({"TRAINGUARD_PORT": "70000"}, "less than or equal to 65535"),
        ({"TRAINGUARD_LEASE_SECONDS": "nan"}, "TRAINGUARD_LEASE_SECONDS"),
        ({"TRAINGUARD_DATABASE": "oracle://x"}, "unknown database 'oracle'"),
        ({"TRAINGUARD_WEBHOOK_URL": "file:///etc/passwd"}, "is no web address"),
    ],
)
def test_a_mistake_names_the_setting_and_the_remedy(environment: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        read_settings({}, environment)


def test_several_mistakes_are_told_at_once() -> None:
    with pytest.raises(SettingsError, match=r"port .*; live_runs "):
        read_settings({"port": -1, "live_runs": 0}, {})


def test_a_secret_is_not_shown() -> None:
    assert "s3cret" not in repr(read_settings({}, {"TRAINGUARD_WEBHOOK_SECRET": "s3cret"}))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_this_machine_alone_needs_no_word(host: str) -> None:
    assert not Settings(host=host).is_within_reach


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org", "10.0.0.1"])
def test_any_other_address_is_within_reach(host: str) -> None:
    assert Settings(host=host).is_within_reach


def test_the_page_has_an_address_that_a_browser_takes() -> None:
    assert Settings(host="::1").page_url == "http://[::1]:8321"
    assert Settings(host="0.0.0.0", insecure=True).page_url == "http://127.0.0.1:8321"
    assert Settings(public_url="https://guard.example/").page_url == "https://guard.example"


def test_only_what_has_somewhere_to_send_to_is_a_notifier() -> None:
    assert Settings().notifiers == ()
    assert Settings(webhook_url="http://127.0.0.1:9/").notifiers == ("webhook",)


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    read = read_settings({}, {"TRAINGUARD_WEBHOOK_SECRET_FILE": str(tmp_path / "secret")})
    assert read.webhook_secret.get_secret_value() == "s3cret"
    with pytest.raises(SettingsError, match="WEBHOOK_SECRET_FILE: .*nowhere cannot be read"):
        read_settings({}, {"TRAINGUARD_WEBHOOK_SECRET_FILE": str(tmp_path / "nowhere")})
    with pytest.raises(SettingsError, match="are both set"):
        read_settings({}, {"TRAINGUARD_DATABASE": "sqlite:///x", "TRAINGUARD_DATABASE_FILE": str(tmp_path / "secret")})


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ({}, {"localhost", "127.0.0.1", "[::1]"}),
        ({"host": "::1"}, {"localhost", "127.0.0.1", "[::1]"}),
        ({"host": "127.9.9.9"}, {"localhost", "127.0.0.1", "[::1]", "127.9.9.9"}),
        ({"public_url": "https://guard.example/at"}, {"localhost", "127.0.0.1", "[::1]", "guard.example"}),
        ({"hosts": "gpu-07, *.lan"}, {"localhost", "127.0.0.1", "[::1]", "gpu-07", "*.lan"}),
        ({"host": "0.0.0.0", "insecure": True}, {"*"}),
        ({"host": "0.0.0.0", "hosts": "trainguard"}, {"localhost", "127.0.0.1", "[::1]", "0.0.0.0", "trainguard"}),
    ],
)
def test_a_service_on_loopback_answers_to_its_own_names_alone(given: dict[str, object], known: set[str]) -> None:
    assert set(Settings.model_validate(given).known_hosts) == known


@pytest.mark.parametrize("name", ["https://guard.example", "guard.example:80", "*guard", "fd00::7", "a b"])
def test_a_host_is_a_name_alone(name: str) -> None:
    with pytest.raises(SettingsError, match="is no name of a host"):
        read_settings({}, {"TRAINGUARD_HOSTS": name})
