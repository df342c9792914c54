"""A webhook: each message is one POST of JSON, signed where a secret is set."""

from __future__ import annotations

import hashlib
import hmac
import math
from typing import ClassVar

import httpx

from monitor_server.notifiers.base import Delivery, Notifier
from monitor_server.settings import Settings
from monitor_server.storage.column_types import dump_document
from monitor_server.storage.notifications import Notification

TIMEOUT_SECONDS = 5.0
"""For each phase: connecting, sending, waiting for the answer."""

WORTH_ANOTHER_TRY = frozenset({408, 421, 425, 429})
"""Client errors that speak of the moment, not of the message; so does every 5xx."""


class Webhook(Notifier):
    """POSTs to ``webhook_url``. The body's ``notification_id`` is the same at every try, for receivers that count.

    With ``webhook_secret``, ``X-Trainguard-Signature-256`` is ``sha256=`` and the HMAC-SHA256 of the body in hex.
    ``text`` holds it all in one line, which is what chat rooms show.
    """

    name: ClassVar[str] = "webhook"

    def __init__(self, settings: Settings) -> None:
        self._url = settings.webhook_url
        self._secret = settings.webhook_secret.get_secret_value().encode()
        # Redirects are not followed: a POST would arrive as a GET, or somewhere nobody has named.
        self._client = httpx.Client(timeout=TIMEOUT_SECONDS, follow_redirects=False)

    def deliver(self, letter: Notification) -> Delivery:
        """See `Notifier.deliver`. Delivered is what was answered 2xx."""
        body = _body(letter)
        headers = {"content-type": "application/json", "user-agent": "trainguard"}
        if self._secret:
            headers["x-trainguard-signature-256"] = f"sha256={hmac.new(self._secret, body, hashlib.sha256).hexdigest()}"
        try:
            # The answer's body is not read: nobody here would look at it, and it may be endless.
            with self._client.stream("POST", self._url, content=body, headers=headers) as response:
                return _judge(response)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
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
        return Delivery("refused", f"answered {status}: it has moved to {response.headers.get('location', '?')}")
    if status >= 500 or status in WORTH_ANOTHER_TRY:
        return Delivery("retry", f"answered {status}", _seconds(response.headers.get("retry-after")))
    return Delivery("refused", f"answered {status}")


def _seconds(retry_after: str | None) -> float | None:
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return None  # absent, or a date, which our own pauses serve as well
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
