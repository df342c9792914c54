"""One stream of events: where it is, what it sends, when it looks again, and when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fastapi.sse import format_sse_event
from starlette.concurrency import run_in_threadpool

from monitor_server.live import EventFeed
from monitor_server.storage import Database, DatabaseUnavailable, events, runs
from monitor_server.storage.column_types import dump_document
from monitor_server.storage.events import BEGINNING, Event, Place
from monitor_server.storage.runs import Progress

POLL_SECONDS = 1.0
"""Between two looks where nobody wakes us, for what another process wrote on SQLite; and between two looks at the
progress of runs."""
LEAST_SECONDS = 0.1
"""Between two looks at least so long, however much happens."""
HEARTBEAT_SECONDS = 15.0
LONGEST_SECONDS = 3600.0
"""Then a stream ends, and the browser comes back by itself, perhaps to another process."""
RETRY_MILLISECONDS = 2000
PAGE = 200


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look at the database found."""

    events: list[Event]
    place: Place
    progress: list[Progress]


class Watch:
    """What one listener wants to hear of."""

    def __init__(
        self,
        database: Database,
        feed: EventFeed,
        clock: Callable[[], float],
        *,
        run_id: UUID | None,
        project: str | None,
        kinds: tuple[str, ...],
        progress_of: frozenset[UUID],
        is_welcome: Callable[[], Awaitable[bool]],
    ) -> None:
        self._database = database
        self._feed = feed
        self._clock = clock
        self._run_id = run_id
        self._project = project
        self._kinds = kinds
        self._progress_of = progress_of
        self._is_welcome = is_welcome

    async def stream(self, last_event_id: str) -> AsyncIterator[bytes]:
        """The stream, from behind ``last_event_id`` (empty: from now on), until somebody leaves.

        That is the client or the service; or the client's token is revoked, or expires.
        """
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + LONGEST_SECONDS
        said_at = loop.time()
        versions: dict[UUID, int] = {}
        measured_at = -POLL_SECONDS
        place: Place | None = None
        while not self._feed.is_closing and loop.time() < ends_at:
            look: _Look | None = None
            try:
                if not await self._is_welcome():
                    return
                if place is None:
                    begun, is_whole = await run_in_threadpool(self._begin, last_event_id)
                    place = begun
                    yield self._said("connected" if is_whole else "reset", {}, begun, retry=RETRY_MILLISECONDS)
                is_due = bool(self._progress_of) and loop.time() - measured_at >= POLL_SECONDS
                measured_at = loop.time() if is_due else measured_at
                look = await run_in_threadpool(self._look, place, is_due)
            except DatabaseUnavailable as error:
                # Not a reason to send everybody away: it may be back in a moment.
                yield format_sse_event(comment=str(error))
                said_at = loop.time()
            if look is not None:
                place = look.place
                for event in look.events:
                    yield self._said(event.kind, _told(event), event.place)
                    said_at = loop.time()
                for one in look.progress:
                    if versions.get(one.run_id, one.version) != one.version:
                        yield self._said("progress", _progress(one), None)
                        said_at = loop.time()
                    versions[one.run_id] = one.version
                if len(look.events) == PAGE:
                    continue
            if loop.time() - said_at >= HEARTBEAT_SECONDS:
                # With the place: whoever heard nothing for days need not read the days again.
                yield format_sse_event(comment="heartbeat", id=_word(place) if place else None)
                said_at = loop.time()
            looked_at = loop.time()
            if await self._feed.changed(POLL_SECONDS) and not self._feed.is_closing:
                await asyncio.sleep(max(0.0, looked_at + LEAST_SECONDS - loop.time()))

    def _begin(self, last_event_id: str) -> tuple[Place, bool]:
        """Where to begin, and whether nothing between there and ``last_event_id`` is missing."""
        with self._database.read() as connection:
            oldest, newest = events.ends(connection)
        if not last_event_id:
            return newest, True
        place = _read_word(last_event_id)
        if place is None or place > newest:
            return newest, False  # of another database, or of one that was restored
        # Numbers have no gaps but those of transactions that failed, so that the oldest one kept tells what is gone.
        is_whole = place >= oldest or place[1] + 1 >= oldest[1]
        return (place, True) if is_whole else (newest, False)

    def _look(self, place: Place, with_progress: bool) -> _Look:
        with self._database.read() as connection:
            _, newest = events.ends(connection)
            found: list[Event] = []
            if newest > place:
                found = events.after(
                    connection, place, run_id=self._run_id, project=self._project, kinds=self._kinds, limit=PAGE
                )
            moving = runs.progress(connection, self._progress_of) if with_progress else []
        if self._project is not None:
            moving = [one for one in moving if one.project == self._project]
        return _Look(found, found[-1].place if len(found) == PAGE else max(newest, place), moving)

    def _said(self, kind: str, document: Any, place: Place | None, *, retry: int | None = None) -> bytes:
        return format_sse_event(
            event=kind, data_str=dump_document(document), id=_word(place) if place else None, retry=retry
        )


def _told(event: Event) -> dict[str, Any]:
    return {
        "kind": event.kind,
        "run_id": event.run_id,
        "project": event.project,
        "at": event.happened_at,
        "document": event.document,
    }


def _progress(run: Progress) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "project": run.project,
        "state": run.state,
        "attempt": run.attempt,
        "revision": run.revision,
        "step": run.last_step,
        "lr_scale": run.lr_scale,
        "last_seen_at": run.last_seen_at,
        "rollbacks": run.rollbacks_total,
        "signals": run.last_signals,
        "observations": run.observations_total,
        "version": run.version,
    }


def _word(place: Place) -> str:
    """A place as an event's id.

    >>> _word((7, 42)), _read_word("7-42"), _read_word("nonsense")
    ('7-42', (7, 42), None)
    """
    return f"{place[0]}-{place[1]}"


def _read_word(word: str) -> Place | None:
    transaction, _, number = word.partition("-")
    if not (transaction.isdecimal() and number.isdecimal() and word.isascii()):
        return None
    place = int(transaction), int(number)
    return place if max(place) < 2**63 and place >= BEGINNING else None
