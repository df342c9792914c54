"""docker-compose.yml, read as a person would: pinned, healthy, closed to others, every name leads somewhere.

There is no Docker here, so nothing is started; what each service is given is checked against the real files and
the real settings instead.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from monitor_server.settings import PREFIX, Settings, read_settings
from monitor_server.storage import Database

ROOT = Path(__file__).parents[1]
ASSIGNMENT = re.compile(r"^([A-Z_]+)=(.*)$", flags=re.MULTILINE)
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


def interpolated(text: str, environment: dict[str, str]) -> str:
    """The text as compose reads it: ``${NAME:-default}`` is the only form used, an empty variable counts as missing.

    >>> interpolated("${A:-x} ${B:-y}", {"A": "1", "B": ""})
    '1 y'
    """
    return VARIABLE.sub(lambda found: environment.get(found[1]) or found[2], text)


TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(interpolated(TEXT, {}))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
MONITORING = [name for name, service in SERVICES.items() if "monitoring" in service["networks"]]


def mounts(service: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Source, target and options of every volume."""
    return [(*entry.split(":"), "")[:3] for entry in service.get("volumes", [])]


def arguments(service: dict[str, Any]) -> dict[str, str]:
    """``--name value`` and ``--name=value`` of a command.

    >>> arguments({"command": ["serve", "--a=1", "--b", "2", "--c"]})
    {'--a': '1', '--b': '2', '--c': ''}
    """
    found: dict[str, str] = {}
    name = ""
    for word in service["command"]:
        if word.startswith("--"):
            name, _, found[name] = word.partition("=")
        elif name:
            found[name] = word
    return found


def file_behind(service: str, path: str) -> Path:
    """The file of this project that a container sees at ``path``."""
    for source, target, _ in mounts(SERVICES[service]):
        if source.startswith("./") and (path + "/").startswith(target + "/"):
            return ROOT / source / path[len(target) :].lstrip("/")
    raise AssertionError(f"{service} has nothing mounted at {path}")


def test_everything_the_picture_needs_is_there() -> None:
    assert {"trainguard", "postgres", "prometheus", "alertmanager", "grafana"} <= set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned(name: str) -> None:
    _, _, tag = SERVICES[name]["image"].partition(":")
    assert re.match(r"v?\d+\.\d+", tag), SERVICES[name]["image"]


def test_our_own_image_carries_our_version() -> None:
    (version,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert SERVICES["trainguard"]["image"] == f"trainguard:{version}"
    assert SERVICES["trainguard"]["build"] == "."


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check_and_comes_back(name: str) -> None:
    service = SERVICES[name]
    if "profiles" in service:
        assert service["restart"] == "no", "a training that has ended is over"
        return
    assert service["restart"] == "unless-stopped"
    if "build" in service:
        assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    else:
        assert set(service["healthcheck"]) == {"test", "interval", "timeout", "start_period", "retries"}
        assert service["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", SERVICES)
def test_only_this_machine_reaches_a_port(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", SERVICES)
def test_nobody_is_root_and_nothing_is_written_but_to_volumes_and_memory(name: str) -> None:
    service = SERVICES[name]
    uid, _, gid = service["user"].partition(":")
    assert int(uid) > 0
    assert int(gid) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "/tmp" in service["tmpfs"]


def test_the_service_and_the_reader_alone_reach_the_database() -> None:
    assert COMPOSE["networks"]["database"] == {"internal": True}
    assert {name for name, service in SERVICES.items() if "database" in service["networks"]} == {
        "trainguard",
        "postgres",
        "grafana",
    }
    assert "ports" not in SERVICES["postgres"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_mounted_file_exists_and_every_volume_is_declared(name: str) -> None:
    for source, _, options in mounts(SERVICES[name]):
        if source.startswith("./"):
            assert (ROOT / source).exists()
            assert options == "ro"
        else:
            assert source in COMPOSE["volumes"]


def test_what_must_survive_lies_in_a_volume() -> None:
    kept = {source: target for service in SERVICES.values() for source, target, _ in mounts(service)}
    assert kept["postgres"] == "/var/lib/postgresql/data"
    assert kept["prometheus"] == arguments(SERVICES["prometheus"])["--storage.tsdb.path"]
    assert kept["alertmanager"] == arguments(SERVICES["alertmanager"])["--storage.path"]
    assert kept["grafana"] == "/var/lib/grafana"


def test_every_secret_is_a_file_that_is_made_by_make_and_never_committed() -> None:
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
        assert re.search(rf"\b{name}\b", recipe), f"make secrets makes no {name}"
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|TOKEN", key):
                assert key.endswith("_FILE")
                assert value.removeprefix("/run/secrets/") in service["secrets"]


def test_what_is_asked_of_the_environment_has_a_line_in_the_example() -> None:
    example = dict(ASSIGNMENT.findall((ROOT / ".env.example").read_text(encoding="utf-8")))
    assert example == dict(VARIABLE.findall(TEXT)), "the example's values are the defaults"


def test_make_secrets_makes_every_file_once(tmp_path: Path) -> None:
    make = ["make", "--silent", f"--file={ROOT / 'Makefile'}", f"PYTHON={sys.executable}", "secrets"]
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert set(made) == set(COMPOSE["secrets"])
    assert len(set(made.values())) == len(made)
    assert urlsplit(made["database_url"]).password == made["database_password"]
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == made


def service_settings(environment: dict[str, str], **given: Any) -> Settings:
    """What the service makes of its container's environment and command."""
    service = yaml.safe_load(interpolated(TEXT, environment))["services"]["trainguard"]
    told = {key: value or "" for key, value in service["environment"].items() if not key.endswith("_FILE")}
    return read_settings({"host": arguments(service)["--host"], **given}, told)


def test_the_service_understands_what_it_is_given() -> None:
    settings = service_settings({}, insecure=True)
    port = SERVICES["trainguard"]["ports"][0].rsplit(":", 1)[1]
    assert (settings.host, str(settings.port)) == ("0.0.0.0", port)
    assert settings.page_url == f"http://127.0.0.1:{port}"
    assert settings.notifiers == ()
    told = service_settings({"TRAINGUARD_WEBHOOK_URL": "https://chat.example/hook"}, insecure=True)
    assert told.notifiers == ("webhook",)


def test_compose_adds_nothing_to_the_image_s_command_but_insecure() -> None:
    *_, command = re.findall(r"^CMD +(\[.*\])$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert SERVICES["trainguard"]["command"] == [*yaml.safe_load(command), "--insecure"]


def test_without_insecure_the_service_would_refuse_the_address() -> None:
    assert "--insecure" in arguments(SERVICES["trainguard"])
    settings = service_settings({})
    assert settings.is_within_reach
    assert not settings.insecure


def test_the_database_address_leads_to_the_database() -> None:
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8")
    (address,) = re.findall(r"printf '(postgresql\S+)'", recipe)
    service, postgres = SERVICES["trainguard"], SERVICES["postgres"]
    url = urlsplit(address % "secret")
    assert SERVICES[str(url.hostname)] is postgres
    assert url.username == postgres["environment"]["POSTGRES_USER"]
    assert url.path == "/" + postgres["environment"]["POSTGRES_DB"]
    assert service["environment"]["TRAINGUARD_DATABASE_FILE"] == "/run/secrets/database_url"
    database = Database(address % "secret")
    assert database.url.drivername == "postgresql+psycopg"
    database.close()


def test_the_service_waits_for_a_database_that_answers() -> None:
    for service in SERVICES.values():
        for other, condition in service.get("depends_on", {}).items():
            assert {"healthcheck", "build"} & set(SERVICES[other])
            assert condition == {"condition": "service_healthy"}
    assert "postgres" in SERVICES["trainguard"]["depends_on"]


def test_prometheus_scrapes_services_that_exist_on_ports_they_listen_on() -> None:
    config_path = arguments(SERVICES["prometheus"])["--config.file"]
    config = yaml.safe_load(file_behind("prometheus", config_path).read_text())
    listening = {
        f"{name}:{port.rsplit(':', 1)[1]}" for name in MONITORING for port in SERVICES[name].get("ports", [])
    } | {"127.0.0.1:9090"}
    jobs = config["scrape_configs"] + config["alerting"]["alertmanagers"]
    targets = {target for job in jobs for static in job["static_configs"] for target in static["targets"]}
    assert targets <= listening
    assert {"trainguard:8321", "alertmanager:9093"} <= targets
    for pattern in config["rule_files"]:
        assert list(file_behind("prometheus", "/etc/prometheus/rules").parent.glob(pattern))
    default = VARIABLE.search(TEXT[TEXT.index("TRAINGUARD_PUBLIC_URL") :])
    assert default is not None
    assert config["global"]["external_labels"]["trainguard_url"] == default[2]


def test_alertmanager_tells_the_sink() -> None:
    config_path = arguments(SERVICES["alertmanager"])["--config.file"]
    config = yaml.safe_load(file_behind("alertmanager", config_path).read_text())
    urls = [hook["url"] for receiver in config["receivers"] for hook in receiver.get("webhook_configs", [])]
    sink = SERVICES["alert-sink"]
    assert urls == [f"http://alert-sink:{arguments(sink)['--port']}/"]
    for pattern in config["templates"]:
        folder, _, name = pattern.rpartition("/")
        assert list(file_behind("alertmanager", f"/etc/alertmanager/{folder}").glob(name))
    script = next(word for word in sink["command"] if word.endswith(".py"))
    assert file_behind("alert-sink", script).name == "alert_sink.py"


def test_the_sink_runs_on_the_python_that_the_service_runs_on() -> None:
    bases = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert set(bases) == {SERVICES["alert-sink"]["image"]}


def test_grafana_finds_its_data_sources_and_its_dashboards() -> None:
    provisioning = "/etc/grafana/provisioning"
    sources = {
        path.stem: yaml.safe_load(path.read_text())["datasources"][0]
        for path in file_behind("grafana", f"{provisioning}/datasources").glob("*.yml")
    }
    (provider_file,) = file_behind("grafana", f"{provisioning}/dashboards").glob("*.yml")
    (provider,) = yaml.safe_load(provider_file.read_text())["providers"]
    url = urlsplit(sources["prometheus"]["url"])
    assert f"127.0.0.1:{url.port}:{url.port}" in SERVICES[str(url.hostname)]["ports"]
    host, _, port = sources["postgresql"]["url"].partition(":")
    assert (SERVICES[host]["image"].partition(":")[0], port) == ("postgres", "5432")
    assert sources["postgresql"]["jsonData"]["database"] == SERVICES[host]["environment"]["POSTGRES_DB"]
    secret = sources["postgresql"]["secureJsonData"]["password"].removeprefix("$__file{/run/secrets/").rstrip("}")
    assert secret in SERVICES["grafana"]["secrets"]
    assert file_behind("postgres", "/docker-entrypoint-initdb.d/reader.sql").is_file()
    assert list(file_behind("grafana", provider["options"]["path"]).glob("*.json"))
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert file_behind("grafana", home).is_file()


def test_the_deployment_page_lists_every_setting_and_no_other() -> None:
    page = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`TRAINGUARD_.*?) \|", page, flags=re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(TRAINGUARD_\w+)`", row)}
    assert listed == {PREFIX + name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("name", [".env", "secrets/database_password"])
def test_what_is_filled_in_is_never_committed(name: str) -> None:
    ignored = subprocess.run(["git", "check-ignore", "--quiet", name], cwd=ROOT, check=False, capture_output=True)
    if ignored.returncode == 128:
        pytest.skip("this is no git checkout")
    assert ignored.returncode == 0, f"add {name} to .gitignore"
