"""Following what changes: the service's server-sent events as Python objects."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx

from monitor_server.client.connection import Busy, Connection, Unreachable

SILENCE_SECONDS = 60.0
"""Longer than the service's heartbeat: a connection that says nothing for so long is dead."""
PAUSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """Something that changed. ``kind`` is ``incident``, ``command``, …, ``progress``, ``connected`` or ``reset``."""

    kind: str
    run_id: str | None
    project: str | None
    at: float | None
    """Seconds since 1970 (UTC)."""
    document: dict[str, Any]
    """The thing as it was then, as the API tells it."""
    event_id: str
    """What to come back with; empty where there is none."""


def follow(
    connection: Connection, *, run_id: str | None, project: str | None, kinds: Sequence[str], last_event_id: str
) -> Iterator[LiveEvent]:
    """Every event, for ever; a connection that breaks is made again, from behind the last event."""
    place = last_event_id
    query = {"run_id": run_id, "project": project, "kind": list(kinds) or None}
    while True:
        headers = {"last-event-id": place} if place else {}
        with (
            suppress(Unreachable, Busy),
            connection.stream("events", query=query, headers=headers, read_seconds=SILENCE_SECONDS) as response,
        ):
            for event in _events(response):
                place = event.event_id or place
                yield event
        time.sleep(PAUSE_SECONDS)


def _events(response: httpx.Response) -> Iterator[LiveEvent]:
    told: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            told[name] = value
            continue
        if "data" in told:
            yield _event(told)
        told = {}


def _event(told: dict[str, str]) -> LiveEvent:
    data = json.loads(told["data"])
    is_wrapped = "document" in data
    return LiveEvent(
        kind=told.get("event", ""),
        run_id=data.get("run_id"),
        project=data.get("project"),
        at=data.get("at"),
        document=data["document"] if is_wrapped else data,
        event_id=told.get("id", ""),
    )
