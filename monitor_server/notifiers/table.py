"""The explicit table of notifiers. One new notifier is one new file and one line here."""

from __future__ import annotations

from monitor_server.notifiers.apprise import Apprise
from monitor_server.notifiers.base import Notifier
from monitor_server.notifiers.webhook import Webhook

NOTIFIERS: dict[str, type[Notifier]] = {notifier.name: notifier for notifier in (Webhook, Apprise)}
"""Every notifier by the kind of receiver it is for."""
