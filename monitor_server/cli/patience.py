"""uvicorn's HTTP with an end to its patience: whoever connects has to say what he wants, in time and in short.

uvicorn waits for the head of a request for ever, so that a few thousand connections that say a letter a minute would
use up every file descriptor. How long a body may take, the API says itself.
"""

from __future__ import annotations

import asyncio
from asyncio.events import TimerHandle
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 20.0
"""From the connection, or from the first byte of a further request, to the end of the request's head."""
MOST_HEAD_BYTES = 65_536

_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class PatientForAWhile(HttpToolsProtocol):
    """Closes connections whose next request does not come to the point."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._is_in_head = False
        self._head_bytes = 0
        self._timer: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_SECONDS, self._lose_patience)

    def data_received(self, data: bytes) -> None:
        """Read on; wait no longer where the head is complete."""
        super().data_received(data)
        # As a rule a head comes in one piece: then no timer was needed.
        if not self._is_in_head:
            self._stop_timer()
            return
        self._head_bytes += len(data)
        if self._head_bytes > MOST_HEAD_BYTES:
            self._turn_away(_TOO_LONG)
        elif self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self._lose_patience)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._is_in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        """Its head is complete."""
        self._is_in_head = False
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_timer()
        super().connection_lost(exc)

    def _lose_patience(self) -> None:
        self._timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            # The request before is still being answered.
            self._timer = self.loop.call_later(HEAD_SECONDS, self._lose_patience)
            return
        self._turn_away(_TOO_SLOW if self._is_in_head else b"")

    def _turn_away(self, answer: bytes) -> None:
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if answer and not is_answering and not self.transport.is_closing():
            self.transport.write(answer)
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
