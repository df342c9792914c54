"""Who is told what: receivers with their addresses, and routes that choose among them, read from one YAML file.

An address of Apprise, and often one of a webhook, is a secret. It lives in `SecretStr`, is best kept in a file of its
own (``url_file``), and no message of this module repeats it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError

Event = Literal["opened", "needs_approval", "recovering", "recovered", "resolved", "escalated", "silent", "test"]
Severity = Literal["info", "warning", "critical"]
Kind = Literal["webhook", "apprise"]

TOLD_BY_DEFAULT: tuple[Event, ...] = ("opened", "needs_approval", "recovered", "resolved", "escalated", "silent")
"""``recovering`` (a remedy was applied) is told only where a route names it: the outcome follows anyway."""

# fmt: off
SCHEMES = frozenset((
    "bark", "barks", "discord", "form", "forms", "gchat", "gotify", "gotifys", "json", "jsons", "mailgun",
    "mailto", "mailtos", "matrix", "matrixs", "mmost", "mmosts", "ntfy", "ntfys", "opsgenie", "pagerduty",
    "pagertree", "pover", "rocket", "rockets", "sendgrid", "signal", "signals", "slack", "smtp2go", "splunk",
    "squadcast", "tgram", "threema", "twilio", "victorops", "webex", "workflow", "workflows", "wxteams", "zulip",
))
# fmt: on
"""What Apprise may be asked for: chats, mail, pagers and plain posts. It also knows schemes that run programs, write
files, talk to the machine's own log or post in public; those are not here."""


class ReceiversError(ValueError):
    """A file of receivers that cannot be used; the message names the place and the remedy, never an address."""


class Receiver(BaseModel):
    """One address to tell, by a name that logs and the outbox may show."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: Kind
    url: SecretStr
    secret: SecretStr = SecretStr("")
    """Signs what a webhook is sent."""


class _Told(BaseModel):
    """A receiver as the file has it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: SecretStr | None = None
    url_file: Path | None = None
    secret: SecretStr | None = None
    secret_file: Path | None = None


class Route(BaseModel):
    """Whom to tell of what. Left out means all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    to: Annotated[tuple[str, ...], Field(min_length=1)]
    projects: tuple[str, ...] = ()
    severities: tuple[Severity, ...] = ()
    events: tuple[Event, ...] = TOLD_BY_DEFAULT

    def fits(self, project: str, severity: Severity, event: str) -> bool:
        """Whether this route is for such a message."""
        return (
            event in self.events
            and (not self.projects or project in self.projects)
            and (not self.severities or severity in self.severities)
        )


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    receivers: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}$")], _Told]
    routes: tuple[Route, ...] = ()


class AddressBook(BaseModel):
    """Every receiver, and the routes among them.

    >>> chat = Receiver(name="chat", kind="webhook", url=SecretStr("http://127.0.0.1:9/"))
    >>> book = AddressBook(receivers=(chat,), routes=(Route(to=("chat",), severities=("critical",)),))
    >>> book.told_of("demo", "critical", "opened"), book.told_of("demo", "info", "opened")
    (('chat',), ())
    """

    model_config = ConfigDict(frozen=True)

    receivers: tuple[Receiver, ...] = ()
    routes: tuple[Route, ...] = ()
    """All that fit are followed. Without any, everybody is told everything that is told by default."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of every receiver."""
        return tuple(receiver.name for receiver in self.receivers)

    def told_of(self, project: str, severity: Severity, event: str) -> tuple[str, ...]:
        """Names of those who are to be told, each once."""
        if not self.routes:
            return self.names if event in TOLD_BY_DEFAULT else ()
        wanted = {name for route in self.routes if route.fits(project, severity, event) for name in route.to}
        return tuple(name for name in self.names if name in wanted)


def webhook(url: str, secret: SecretStr) -> AddressBook:
    """The one receiver of the settings ``webhook_url`` and ``webhook_secret``."""
    return AddressBook(receivers=(Receiver(name="webhook", kind="webhook", url=SecretStr(url), secret=secret),))


def read_address_book(path: Path) -> AddressBook:
    """Receivers and routes from a file. Relative ``*_file`` paths begin at its folder. Raises `ReceiversError`."""
    try:
        told = yaml.safe_load(_text(path, str(path)))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark is not None else ""
        raise ReceiversError(f"{path} is no YAML{place}") from None
    try:
        file = _File.model_validate(told)
    except ValidationError as error:
        raise ReceiversError("; ".join(_sentence(path, one) for one in error.errors(include_input=False))) from None
    receivers = tuple(_receiver(path, name, one) for name, one in file.receivers.items())
    for number, route in enumerate(file.routes):
        _known(path, number, route, [one.name for one in receivers])
    return AddressBook(receivers=receivers, routes=file.routes)


def _receiver(path: Path, name: str, told: _Told) -> Receiver:
    place = f"{path}: receivers.{name}"
    if name == "webhook":
        raise ReceiversError(f"{place}: this name belongs to TRAINGUARD_WEBHOOK_URL; choose another")
    url = _secret(path, place, "url", told.url, told.url_file)
    if url is None:
        raise ReceiversError(f"{place}: has no address; give url, or url_file with its path")
    secret = _secret(path, place, "secret", told.secret, told.secret_file) or ""
    scheme = url.partition("://")[0].lower()
    if scheme in ("http", "https"):
        if not urlsplit(url).hostname:
            raise ReceiversError(f"{place}: is no web address; write http://host/path or https://host/path")
        return Receiver(name=name, kind="webhook", url=SecretStr(url), secret=SecretStr(secret))
    if scheme not in SCHEMES:
        # The scheme alone, and only if it can be one: a bare token must not be repeated here.
        shown = f"scheme {scheme!r}" if "://" in url and scheme.isalnum() and len(scheme) <= 12 else "this address"
        raise ReceiversError(f"{place}: {shown} is not allowed; allowed are http, https, {', '.join(sorted(SCHEMES))}")
    if secret:
        raise ReceiversError(f"{place}: a secret signs our own webhook (http, https); Apprise has none")
    if find_spec("apprise") is None:
        raise ReceiversError(f"{place}: {scheme} needs Apprise; pip install 'trainguard[notify]'")
    return Receiver(name=name, kind="apprise", url=SecretStr(url))


def _secret(path: Path, place: str, field: str, here: SecretStr | None, file: Path | None) -> str | None:
    if here is not None and file is not None:
        raise ReceiversError(f"{place}: has both {field} and {field}_file; keep one of them")
    if file is not None:
        return _text(path.parent / file, f"{place}.{field}_file").strip()
    return None if here is None else here.get_secret_value().strip()


def _text(path: Path, place: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise ReceiversError(f"{place}: {path} cannot be read: {why}") from None


def _known(path: Path, number: int, route: Route, names: Sequence[str]) -> None:
    for name in route.to:
        if name not in names:
            known = ", ".join(names) or "none"
            raise ReceiversError(f"{path}: routes.{number}.to: there is no receiver {name!r}; known are: {known}")


def _sentence(path: Path, error: Any) -> str:
    return f"{path}: {'.'.join(str(part) for part in error['loc']) or 'the file'}: {error['msg']}"
