"""What a chore is, and what it works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from monitor_server.settings import Settings


@dataclass(frozen=True, slots=True)
class Desk:
    """One write transaction, and the rest of the service as far as a chore needs it. Times since 1970 (UTC)."""

    connection: Connection
    settings: Settings
    now: float
    started_at: float
    """When this process began to listen: of the time before, it cannot say who was silent."""


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to be done from time to time; ``work`` returns how much was done, for the log."""

    name: str
    work: Callable[[Desk], int]
    every_seconds: float = 0.0
    """At most so often; 0 means at every round."""
    pieces: int = 1
    """Done again while there is something to do, at most so many times a round, each time in a transaction of its own:
    a long work that lets envelopes pass between."""
