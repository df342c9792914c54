"""Trying out, from the machine of the service, whether people would be told."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

from rich.console import Console
from rich.markup import escape

from monitor_server.notifiers import NOTIFIERS
from monitor_server.receivers import ReceiversError
from monitor_server.settings import Settings
from monitor_server.storage.notifications import Notification


def tell_routes(console: Console, settings: Settings, project: str, severity: str, event: str) -> Sequence[str]:
    """Print and return whom the routes choose for such a message."""
    named = settings.address_book.told_of(project, severity, event)  # type: ignore[arg-type]
    chosen = ", ".join(named) or "nobody"
    console.print(f"{escape(project)}, {severity}, {event}: {chosen}", highlight=False)
    return named


def send_test(
    console: Console, settings: Settings, names: Sequence[str], *, clock: Callable[[], float] = time.time
) -> bool:
    """Send a message to each receiver of ``names`` now; whether all of them arrived. Addresses are not printed."""
    all_arrived = True
    for receiver in settings.address_book.receivers:
        if receiver.name not in names:
            continue
        try:
            notifier = NOTIFIERS[receiver.kind](receiver)
        except ReceiversError as error:
            console.print(f"[red]✗[/] {escape(str(error))}", highlight=False, soft_wrap=True)
            all_arrived = False
            continue
        now = clock()
        delivery = notifier.deliver(_letter(settings, receiver.name, now), now)
        notifier.close()
        if delivery.outcome == "delivered":
            console.print(f"[green]✓[/] {receiver.name}: delivered", highlight=False)
        else:
            all_arrived = False
            console.print(f"[red]✗[/] {receiver.name}: {escape(delivery.reason)}", highlight=False, soft_wrap=True)
    return all_arrived


def _letter(settings: Settings, receiver: str, now: float) -> Notification:
    document = {
        "event": "test",
        "sentence": "This is a test of trainguard's notifications. Nothing is wrong.",
        "run_id": str(UUID(int=0)),
        "run": "no-run",
        "project": "test",
        "incident": None,
        "decision": None,
        "link": settings.page_url,
    }
    return Notification(UUID(int=0), uuid4(), receiver, "test", now, document)
