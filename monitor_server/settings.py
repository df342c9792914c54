"""What a person may set: arguments of `trainguard serve` first, then ``TRAINGUARD_*`` variables, then defaults."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from typing_extensions import Self

from monitor_server.receivers import AddressBook, Route, read_address_book, webhook
from monitor_server.storage.database import parse_database_url

PREFIX = "TRAINGUARD_"

Seconds = Annotated[float, Field(gt=0, le=10 * 365 * 86_400, allow_inf_nan=False)]


class SettingsError(Exception):
    """A setting that cannot be used; the message names it and the remedy."""


class Settings(BaseModel):
    """Every setting, validated. Each is also read from ``TRAINGUARD_<NAME>``.

    >>> Settings(port=9000).port
    9000
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8321
    """0 takes any free port."""
    insecure: bool = False
    """Serve an address that others can reach although nobody has to sign in."""
    public_url: str = ""
    """Where people reach the page; links in notifications begin with it. Empty: made of host and port."""
    hosts: tuple[str, ...] = ()
    """Further names under which the service answers (``guard.example.org``, ``*.example.org``), see `known_hosts`. As a
    variable: with commas between them."""
    database: str = "sqlite:///trainguard.db"
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that serve the port together; more than one needs PostgreSQL."""
    log_format: Literal["text", "json"] = "text"
    """How standard error reads: lines for people, or an object a line."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 8 * 2**20
    """A request's body as it arrives, compressed or not."""
    max_decompressed_bytes: Annotated[int, Field(ge=1024)] = 32 * 2**20
    flush_seconds: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 2.0
    """How long a trainer may gather before it sends again."""
    lease_seconds: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] = 60.0
    """How long the service stays the brain of a run after a receipt."""
    command_ttl_seconds: Seconds = 300.0
    silent_after_seconds: Seconds = 300.0
    """A running run that says nothing for so long is called silent."""
    metrics_runs: Annotated[int, Field(ge=0, le=1_000_000)] = 2000
    """Runs that /metrics tells of one by one; of more, those with an incident first, then the latest heard of."""
    metrics_forget_after_seconds: Seconds = 86_400.0
    """A silent run leaves /metrics after so long."""
    metrics_linger_seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = 600.0
    """The counters of an ended run stay in /metrics for so long, so that its last escalation is scraped."""
    ingest_queue: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Envelopes that may wait for their commit; more are answered 503."""
    live_runs: Annotated[int, Field(ge=1, le=1_000_000)] = 2000
    """Runs whose detectors are kept in memory."""
    body_seconds: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 30.0
    """How long the body of a request may take to arrive."""
    requests_per_minute: Annotated[int, Field(ge=0)] = 6_000
    """Of each token, by all workers together; 0 sets no limit."""
    envelopes_per_minute: Annotated[int, Field(ge=0)] = 120_000
    """Of each token, by all workers together: one token may serve a thousand trainers. 0 sets no limit."""
    event_streams: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Pages that may follow live at once, per process; more are answered 503."""
    webhook_url: str = ""
    webhook_secret: SecretStr = SecretStr("")
    """Signs every webhook with HMAC-SHA256 where set."""
    notify_file: str = ""
    """A YAML file of further receivers and of routes, see `monitor_server.receivers`."""
    housekeeping_seconds: Seconds = 5.0
    retention: Mapping[str, Annotated[float, Field(gt=0, le=36_500)]] = {}
    """Days after its end for which a run's single observations are kept, by project; ``*`` stands for every project
    that is not named. As a variable: ``demo=30,*=365``. Empty: for ever."""

    @field_validator("database")
    @classmethod
    def _known_database(cls, value: str) -> str:
        parse_database_url(value)
        return value

    @field_validator("hosts", mode="before")
    @classmethod
    def _names_of_hosts(cls, value: Any) -> Any:
        names = [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value
        for name in names:
            if not re.fullmatch(r"\*|(\*\.)?[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", str(name)):
                raise ValueError(
                    f"{name!r} is no name of a host; write guard.example.org, *.example.org, 10.0.0.7 or [fd00::7], "
                    "without scheme and port"
                )
        return names

    @field_validator("retention", mode="before")
    @classmethod
    def _days_by_project(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        wishes = [wish.rpartition("=") for wish in value.split(",") if wish.strip()]
        if any(not project.strip() for project, _, _ in wishes):
            raise ValueError("names no project; write project=days, with commas between them, * for every other")
        return {project.strip(): days for project, _, days in wishes}

    @field_validator("webhook_url", "public_url")
    @classmethod
    def _http_address(cls, value: str) -> str:
        if value and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname):
            raise ValueError("is no web address; write http://host/path or https://host/path")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _one_writer_on_sqlite(self) -> Self:
        if self.workers > 1 and self.database.startswith("sqlite"):
            raise ValueError(
                f"{self.workers} workers on SQLite would only wait for each other, because a file has one writer: "
                "leave --workers at 1, or name a PostgreSQL with --database"
            )
        if self.workers > 1 and not hasattr(socket, "SO_REUSEPORT"):
            raise ValueError("this system cannot share a port: leave --workers at 1, or put a load balancer in front")
        return self

    @property
    def is_within_reach(self) -> bool:
        """Whether others than this machine can reach the service. It then takes tokens, or the word *insecure*."""
        return not is_loopback(self.host)

    @property
    def known_hosts(self) -> tuple[str, ...]:
        """What a request may name as its host; ``*``: anything.

        A web site can have its own name lead to 127.0.0.1, and a browser then lets its scripts read what answers there.
        That nobody has to sign in at a service on loopback is right only where such names are refused.
        """
        if self.is_within_reach and not self.hosts:
            return ("*",)
        told = urlsplit(self.public_url).hostname if self.public_url else None
        names = ("localhost", "127.0.0.1", "::1", self.host.strip("[]"), told or "localhost")
        return tuple(dict.fromkeys((*(f"[{name}]" if ":" in name else name for name in names), *self.hosts)))

    @property
    def page_url(self) -> str:
        """Where the page is, as far as we know."""
        if self.public_url:
            return self.public_url
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @model_validator(mode="after")
    def _everybody_can_be_told(self) -> Self:
        _ = self.address_book  # a mistake in the file is said at the start, not at the first incident
        return self

    @cached_property
    def address_book(self) -> AddressBook:
        """Receivers and routes of ``notify_file``, and the receiver ``webhook``, which is told everything."""
        book = read_address_book(Path(self.notify_file)) if self.notify_file else AddressBook()
        if not self.webhook_url:
            return book
        everything = webhook(self.webhook_url, self.webhook_secret)
        routes = (*book.routes, Route(to=everything.names)) if book.routes else ()
        return AddressBook(receivers=(*everything.receivers, *book.receivers), routes=routes)

    @property
    def notifiers(self) -> tuple[str, ...]:
        """Names of the receivers."""
        return self.address_book.names


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``.

    >>> is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def read_settings(given: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from what was given (None means *not given*), then the environment, then defaults.

    ``TRAINGUARD_<NAME>_FILE`` names a file that holds the value: for secrets, which an environment shows to others.
    Raises `SettingsError` with one sentence per mistake.
    """
    values: dict[str, Any] = {}
    for name in Settings.model_fields:
        told = _told(name, environment)
        if told:
            values[name] = told
    values |= {name: value for name, value in given.items() if value is not None}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(one) for one in error.errors(include_url=False))) from None


def _told(name: str, environment: Mapping[str, str]) -> str:
    variable = PREFIX + name.upper()
    here, file = environment.get(variable, ""), environment.get(f"{variable}_FILE", "")
    if not file or f"{name}_file" in Settings.model_fields:
        return here
    if here:
        raise SettingsError(f"{variable} and {variable}_FILE are both set; keep one of them")
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise SettingsError(f"{variable}_FILE: {file} cannot be read: {why}") from None


def _sentence(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    name = ".".join(str(part) for part in error["loc"])
    return f"{name} (or {PREFIX}{name.upper()}): {message}" if name else message
