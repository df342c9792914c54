"""What a notifier is: one message in, one answer out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from monitor_server.receivers import Receiver
from monitor_server.storage.notifications import Notification


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of one try. ``retry``: it may work later; ``refused``: it never will."""

    outcome: Literal["delivered", "retry", "refused"]
    reason: str = ""
    retry_after_seconds: float | None = None
    """What the receiver asked for, where it did."""


class Notifier(ABC):
    """A way to tell people, built for one receiver. Used from one thread at a time."""

    name: ClassVar[str]

    @abstractmethod
    def __init__(self, receiver: Receiver) -> None: ...

    @abstractmethod
    def deliver(self, letter: Notification, now: float) -> Delivery:
        """Try once, at ``now`` (seconds since 1970). What goes wrong on the way is an answer, not an exception.

        ``reason`` may be shown to anybody: no address, and nothing that the other side sent back.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of connections."""
