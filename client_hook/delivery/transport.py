"""One seam: how an envelope gets to the service and a receipt back, and all that can go wrong on the way.

TransportError                 something went wrong; the envelope is kept unless said otherwise
├── Unreachable                no answer in time, or none at all: try again later
├── ServerBusy                 asked to come back, perhaps after ``retry_after`` seconds
├── UnknownRun                 the service does not know the run: register, then send the same envelope
├── Unauthorized               the token is missing, wrong or for another project: try again, slowly
├── Rejected                   the service refuses this very message: sending it again is no use
│   └── TooLarge               only because of its size: send it in parts
└── NotAReceipt                an answer, but not one of ours (a proxy's page, another service): try again later
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from trainguard.wire import Envelope, Receipt, RunDescription


class TransportError(Exception):
    """Something went wrong between trainer and service; the message is a sentence for a log."""


class Unreachable(TransportError):
    """Connection refused, reset, or no whole answer before the deadline. Whether the service got it is unknown."""


class ServerBusy(TransportError):
    """429 or 503: the service asks to come back later."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds to wait, where the service said so."""


class UnknownRun(TransportError):
    """The service has no such run, because it never had or its database is new."""


class Unauthorized(TransportError):
    """401 or 403. Nothing is wrong with the envelope, so it is kept."""


class Rejected(TransportError):
    """The service understood and refuses: a field is wrong. The same bytes will be refused again."""

    def __init__(self, detail: str, field: str = "") -> None:
        super().__init__(f"{field}: {detail}" if field else detail)
        self.detail = detail
        self.field = field


class TooLarge(Rejected):
    """413: the body is over the service's limit."""


class NotAReceipt(TransportError):
    """An answer that no trainguard service gives."""


class Transport(Protocol):
    """Carries messages. Called from one thread at a time; every call ends within its deadline."""

    def register(self, description: RunDescription, *, timeout_seconds: float | None = None) -> None:
        """Make the run known. Raises `TransportError`."""
        ...

    def send(self, envelope: Envelope, *, timeout_seconds: float | None = None) -> Receipt:
        """Deliver; the receipt leaves the service only after its commit. Raises `TransportError`.

        ``timeout_seconds`` shortens the transport's own deadline for this call.
        """
        ...

    def interrupt(self) -> None:
        """From another thread: let a call that waits for an answer end at once, with `Unreachable`."""
        ...

    def close(self) -> None:
        """Let go of connections. Sending afterwards opens new ones."""
        ...


class MemoryTransport:
    """A service in memory, for tests and for trying things out: ``answer`` makes the receipt, or raises.

    Every description and every *delivered* envelope is kept. ``answer`` raising stands for an error answer; to
    lose the receipt after recording, record and then raise `Unreachable`.
    """

    def __init__(
        self,
        answer: Callable[[Envelope], Receipt],
        register: Callable[[RunDescription], None] | None = None,
    ) -> None:
        self._answer = answer
        self._register = register
        self.descriptions: list[RunDescription] = []
        self.envelopes: list[Envelope] = []
        self.is_closed = False

    def register(self, description: RunDescription, *, timeout_seconds: float | None = None) -> None:
        """Keep the description."""
        if self._register is not None:
            self._register(description)
        self.descriptions.append(description)

    def send(self, envelope: Envelope, *, timeout_seconds: float | None = None) -> Receipt:
        """Ask ``answer`` for the receipt. The envelope goes through JSON, as on the wire."""
        travelled = Envelope.model_validate_json(envelope.model_dump_json())
        receipt = self._answer(travelled)
        self.envelopes.append(travelled)
        return receipt

    def interrupt(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Remember that it was closed."""
        self.is_closed = True
