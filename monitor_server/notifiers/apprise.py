"""Everything that Apprise reaches: Slack, Teams, Discord, mail, pagers. The extra ``notify``."""

from __future__ import annotations

import logging
import re
import threading
from typing import ClassVar

from monitor_server.notifiers.base import Delivery, Notifier
from monitor_server.notifiers.words import body, title
from monitor_server.receivers import Receiver, ReceiversError
from monitor_server.storage.notifications import Notification

TALKATIVE = ("apprise", "requests", "urllib3", "urllib3.connectionpool")
"""Loggers whose lines hold addresses, and so secrets."""

KINDS = {"recovered": "success", "resolved": "success", "recovering": "info", "test": "info", "escalated": "failure"}
WORTH_ANOTHER_TRY = frozenset({408, 421, 425, 429})


class Apprise(Notifier):
    """One Apprise address. What went wrong is told by its status alone: Apprise's own words repeat the address."""

    name: ClassVar[str] = "apprise"

    def __init__(self, receiver: Receiver) -> None:
        # Here and not above: it knows a hundred services, and a start without such a receiver need not wait for them.
        # Where the extra is missing, the address book has said so before anybody comes here.
        import apprise

        _silence()
        asset = apprise.AppriseAsset(app_id="trainguard", app_desc="trainguard", async_mode=False)
        self._service = apprise.Apprise(asset=asset)
        self._kind, self._text = apprise.NotifyType, apprise.NotifyFormat.TEXT
        if not self._service.add(receiver.url.get_secret_value()):
            scheme = receiver.url.get_secret_value().partition("://")[0]
            raise ReceiversError(
                f"receiver {receiver.name!r}: Apprise does not understand this {scheme} address; "
                "its form is in Apprise's documentation"
            )

    def deliver(self, letter: Notification, now: float) -> Delivery:
        """See `Notifier.deliver`."""
        with _one_at_a_time:
            _status.seen = None
            try:
                has_arrived = self._service.notify(
                    title=title(letter),
                    body=body(letter),
                    notify_type=self._kind(KINDS.get(letter.event, "warning")),
                    body_format=self._text,
                )
            except Exception as error:
                return Delivery("retry", f"{type(error).__name__} inside Apprise")
            status = _status.seen
        if has_arrived:
            return Delivery("delivered")
        if status is None:
            return Delivery("retry", "did not answer, or not as Apprise expects")
        lasting = 400 <= status < 500 and status not in WORTH_ANOTHER_TRY
        return Delivery("refused" if lasting else "retry", f"answered {status}")

    def close(self) -> None:
        """See `Notifier.close`."""


class _StatusOnly(logging.Filter):
    """Takes the HTTP status out of what is logged, and lets nothing through."""

    seen: int | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        found = re.search(r"error=(\d{3})\b", record.getMessage()) if record.name == "apprise" else None
        if found:
            self.seen = int(found[1])
        return False


_status = _StatusOnly()
_one_at_a_time = threading.Lock()
"""Apprise sends from threads of its own, so that only this tells whose status was logged."""


def _silence() -> None:
    for name in TALKATIVE:
        logging.getLogger(name).addFilter(_status)
