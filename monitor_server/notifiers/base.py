"""What a notifier is: one message in, one answer out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from monitor_server.settings import Settings
from monitor_server.storage.notifications import Notification


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of one try. ``retry``: it may work later; ``refused``: it never will."""

    outcome: Literal["delivered", "retry", "refused"]
    reason: str = ""
    retry_after_seconds: float | None = None
    """What the receiver asked for, where it did."""


class Notifier(ABC):
    """A way to tell people, built from the settings. Used from one thread at a time."""

    name: ClassVar[str]

    @abstractmethod
    def __init__(self, settings: Settings) -> None: ...

    @abstractmethod
    def deliver(self, letter: Notification) -> Delivery:
        """Try once. What goes wrong on the way is an answer, not an exception."""

    @abstractmethod
    def close(self) -> None:
        """Let go of connections."""
