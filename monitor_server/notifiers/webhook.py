"""A webhook: each message is one POST of JSON, signed where a secret is set."""

from __future__ import annotations

import math
from typing import ClassVar
from urllib.parse import urlsplit

import httpx

from monitor_server.notifiers.base import Delivery, Notifier
from monitor_server.notifiers.signature import signed
from monitor_server.receivers import Receiver
from monitor_server.storage.column_types import dump_document
from monitor_server.storage.notifications import Notification

TIMEOUT_SECONDS = 5.0
"""For each phase: connecting, sending, waiting for the answer."""

WORTH_ANOTHER_TRY = frozenset({408, 421, 425, 429})
"""Client errors that speak of the moment, not of the message; so does every 5xx."""


class Webhook(Notifier):
    """POSTs to the receiver's address. The body's ``notification_id`` is the same at every try.

    With a secret it is signed, see `signature`: every try with its own time, so that a late one is not taken for a
    replayed one.
    ``text`` holds it all in one line, which is what chat rooms show.
    """

    name: ClassVar[str] = "webhook"

    def __init__(self, receiver: Receiver) -> None:
        self._url = receiver.url.get_secret_value()
        self._secret = receiver.secret.get_secret_value().encode()
        # Redirects are not followed: a POST would arrive as a GET, or somewhere nobody has named.
        self._client = httpx.Client(timeout=TIMEOUT_SECONDS, follow_redirects=False)

    def deliver(self, letter: Notification, now: float) -> Delivery:
        """See `Notifier.deliver`. Delivered is what was answered 2xx."""
        body = _body(letter)
        headers = {"content-type": "application/json", "user-agent": "trainguard"}
        if self._secret:
            headers |= signed(body, self._secret, now)
        try:
            # The answer's body is not read: nobody here would look at it, and it may be endless.
            with self._client.stream("POST", self._url, content=body, headers=headers) as response:
                return _judge(response)
        except httpx.InvalidURL:
            return Delivery("retry", "InvalidURL: the address cannot be asked")  # its words would repeat the address
        except (httpx.HTTPError, OSError) as error:
            return Delivery("retry", f"{type(error).__name__}: {error}")

    def close(self) -> None:
        """See `Notifier.close`."""
        self._client.close()


def _body(letter: Notification) -> bytes:
    told = letter.document
    text = f"[{told['project']}/{told['run']}] {letter.event}: {told['sentence']} {told['link']}"
    return dump_document(
        {
            "notification_id": letter.notification_id,
            "created_at": letter.created_at,
            "text": text,
            **told,
        }
    ).encode()


def _judge(response: httpx.Response) -> Delivery:
    status = response.status_code
    if response.is_success:
        return Delivery("delivered")
    if response.is_redirect:
        moved = urlsplit(response.headers.get("location", ""))
        return Delivery("refused", f"answered {status}: it has moved to {moved.hostname or 'another path'}")
    if status >= 500 or status in WORTH_ANOTHER_TRY:
        return Delivery("retry", f"answered {status}", _seconds(response.headers.get("retry-after")))
    return Delivery("refused", f"answered {status}")


def _seconds(retry_after: str | None) -> float | None:
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return None  # absent, or a date, which our own pauses serve as well
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
