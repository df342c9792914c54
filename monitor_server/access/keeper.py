"""The keeper of the door: lets a request in as somebody, or says why not."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from monitor_server.access.caller import ANYBODY, Caller, Scope, widened
from monitor_server.access.paces import Pace
from monitor_server.access.secrets import is_right, read_word
from monitor_server.settings import Settings, SettingsError
from monitor_server.storage import Database, DatabaseUnavailable, tokens
from monitor_server.storage.tokens import TokenRow

COOKIE = "trainguard_token"
"""For the page: HttpOnly and SameSite=Strict, see `monitor_server.api.session`."""

REMEMBER_SECONDS = 5.0
"""How long a token is believed before the database is asked again: so late another process hears of a revocation."""
NOTE_USE_EVERY_SECONDS = 60.0
FAILURES_PER_MINUTE = 60
"""Wrong tokens from one address; more are not even looked at."""
REMEMBERED = 10_000

_READS = ("GET", "HEAD", "OPTIONS")


class NotSignedIn(Exception):
    """401: no token, or not one that is good."""


class Forbidden(Exception):
    """403: a good token, but not for this."""


class TooManyRequests(Exception):
    """429: come back after a while."""


@dataclass(frozen=True, slots=True)
class _Remembered:
    row: TokenRow | None
    until: float


class Keeper:
    """One per process. Asks the database at most every few seconds per token."""

    def __init__(self, database: Database, settings: Settings, *, clock: Callable[[], float]) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._requests = Pace("requests", settings.requests_per_minute, workers=settings.workers)
        self._envelopes = Pace("envelopes", settings.envelopes_per_minute, workers=settings.workers)
        self._failures = Pace("failures", FAILURES_PER_MINUTE, workers=settings.workers)
        self._lock = threading.Lock()
        self._rows: OrderedDict[str, _Remembered] = OrderedDict()
        self._any = _Remembered(None, -1.0)
        self._is_any = False
        self._is_closed = _must_be_closed(settings)
        self._noted: dict[str, float] = {}

    async def admit(self, request: Request, scope: Scope, kind: Literal["request", "envelope"] = "request") -> Caller:
        """Who sends this request, if he may do such a thing.

        Raises `NotSignedIn`, `Forbidden`, `TooManyRequests`, and `DatabaseUnavailable`.
        """
        if not await self.is_needed():
            return ANYBODY
        address = request.client.host if request.client else ""
        word, is_cookie = _given(request)
        if word is None:
            raise NotSignedIn("nobody comes in here without a token; send Authorization: Bearer tg_…")
        caller = await self.recognise(word, address)
        if is_cookie:
            _refuse_strangers(request, self._settings)
        if not caller.may(scope):
            may = ", ".join(sorted(caller.scopes))
            raise Forbidden(f"token {caller.name!r} is not for this: it takes scope {scope}, and this one has {may}")
        pace = self._envelopes if kind == "envelope" else self._requests
        if not await pace.hit(caller.token_id or ""):
            share = "" if self._settings.workers == 1 else f" at this one of {self._settings.workers} workers"
            raise TooManyRequests(f"token {caller.name!r} has made its {pace.per_minute} {kind}s of this minute{share}")
        return caller

    async def is_needed(self) -> bool:
        """Whether one has to sign in: somebody has made a token, or others can reach us and nobody allowed that.

        A token that was revoked or has expired still counts: taking back the last one opens no door.
        """
        if self._is_closed:
            return True
        if self._any.until < time.monotonic():
            # A token once made stays made, so that only "none" is asked again.
            self._is_any = await run_in_threadpool(self._ask_any)
            self._any = _Remembered(None, time.monotonic() + REMEMBER_SECONDS)
        return self._is_any

    async def recognise(self, word: str, address: str) -> Caller:
        """The bearer of a token. Raises `NotSignedIn`, and `TooManyRequests` after too many wrong ones.

        A token that was good before is good still, whatever else comes from its address: one trainer with a wrong
        token must not lock out a whole cluster behind one router.
        """
        told = read_word(word)
        if not self._is_familiar(told) and not await self._failures.is_free(address):
            raise TooManyRequests("too many wrong tokens came from your address; wait a minute")
        row = await self._row(told[0]) if told is not None else None
        now = self._clock()
        if not is_right(told[1] if told is not None else "", row, now) or row is None:
            await self._failures.hit(address)
            raise NotSignedIn("this token is none of ours; look for a missing or an extra character")
        if row.revoked_at is not None:
            raise NotSignedIn(f"token {row.name!r} was revoked; ask for a new one")
        if row.expires_at is not None and row.expires_at <= now:
            raise NotSignedIn(f"token {row.name!r} has expired; ask for a new one")
        await self._note_use(row, now)
        return Caller(row.name, row.token_id, widened(row.scopes), row.project)

    async def is_still_welcome(self, caller: Caller) -> bool:
        """Whether a caller that was let in would be let in again now: for answers that last.

        Raises `DatabaseUnavailable` where nobody can tell.
        """
        if caller.token_id is None:
            return not await self.is_needed()
        row = await self._row(caller.token_id)
        return row is not None and row.state(self._clock()) == "active"

    def _is_familiar(self, told: tuple[str, str] | None) -> bool:
        """Whether the database said of this very token that it is good, be it a while ago."""
        if told is None:
            return False
        with self._lock:
            known = self._rows.get(told[0])
        return known is not None and is_right(told[1], known.row, self._clock())

    def forget(self) -> None:
        """Ask the database again: a token was made, rotated or revoked in this very process."""
        with self._lock:
            for token_id, known in self._rows.items():
                # Not away with them: a token that was good is let in to be looked up (`_is_familiar`).
                self._rows[token_id] = _Remembered(known.row, -1.0)
        self._any = _Remembered(None, -1.0)

    async def _row(self, token_id: str) -> TokenRow | None:
        with self._lock:
            known = self._rows.get(token_id)
        if known is not None and known.until > time.monotonic():
            return known.row
        row = await run_in_threadpool(self._load, token_id)
        with self._lock:
            self._rows[token_id] = _Remembered(row, time.monotonic() + REMEMBER_SECONDS)
            self._rows.move_to_end(token_id)
            while len(self._rows) > REMEMBERED:
                self._rows.popitem(last=False)
        return row

    def _load(self, token_id: str) -> TokenRow | None:
        with self._database.read() as connection:
            return tokens.load(connection, token_id)

    def _ask_any(self) -> bool:
        with self._database.read() as connection:
            return tokens.is_any(connection)

    async def _note_use(self, row: TokenRow, now: float) -> None:
        noted = max(row.last_used_at or 0.0, self._noted.get(row.token_id, 0.0))
        if now - noted < NOTE_USE_EVERY_SECONDS:
            return
        self._noted[row.token_id] = now
        # A note is not worth an error: the next use makes it again.
        with suppress(DatabaseUnavailable):
            await run_in_threadpool(self._write_use, row.token_id, now)

    def _write_use(self, token_id: str, now: float) -> None:
        with self._database.write() as connection:
            tokens.note_use(connection, token_id, now)


def require_a_reason_to_be_open(database: Database, settings: Settings) -> None:
    """Raise `SettingsError` where others could reach a service at which nobody has to sign in."""
    if not _must_be_closed(settings):
        return
    with database.read() as connection:
        if tokens.is_any(connection):
            return
    raise SettingsError(
        f"host {settings.host} can be reached by others, and nobody has to sign in: make a first token "
        "(trainguard token create NAME --scope admin), or bind 127.0.0.1, "
        "or say --insecure (TRAINGUARD_INSECURE=1) if the network is trusted"
    )


def _must_be_closed(settings: Settings) -> bool:
    return settings.is_within_reach and not settings.insecure


def _given(request: Request) -> tuple[str | None, bool]:
    """The token that came with a request, and whether a browser sent it by itself."""
    scheme, _, word = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and word.strip():
        return word.strip(), False
    return request.cookies.get(COOKIE), True


def _refuse_strangers(request: Request, settings: Settings) -> None:
    """A browser sends cookies by itself, so a request that bears one must come from our own page.

    SameSite=Strict says so to the browser already; this holds where an old one does not listen.
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("another site's page sent this request; it has no business here")
    if request.method in _READS:
        return
    ours = {request.headers.get("host", ""), urlsplit(settings.page_url).netloc}
    if urlsplit(request.headers.get("origin", "")).netloc not in ours:
        raise Forbidden("a request that changes something and bears the page's cookie must name our own Origin")
