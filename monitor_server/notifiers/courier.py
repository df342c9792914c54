"""The courier: takes messages out of the outbox, hands them to their notifier, and writes down what came of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Literal

from monitor_server.notifiers.base import Delivery, Notifier
from monitor_server.notifiers.table import NOTIFIERS
from monitor_server.settings import Settings
from monitor_server.storage import Database, DatabaseUnavailable, notifications
from monitor_server.storage.notifications import Notification

logger = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 1.0
TAKE_AT_MOST = 8
HOLD_SECONDS = 300.0
"""A courier that dies with messages in hand has them sent again after so long: longer than all of them can take."""

FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 900.0
GIVE_UP_AFTER_SECONDS = 86_400.0

Outcome = Literal["delivered", "failed"]


class Courier:
    """One thread per process; any number of processes share the outbox.

    At least once: a message whose answer was lost is sent again. ``on_outcome`` hears of every try.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        clock: Callable[[], float],
        on_outcome: Callable[[Outcome], None] = lambda outcome: None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._on_outcome = on_outcome
        self._notifiers: dict[str, Notifier] = {
            receiver.name: NOTIFIERS[receiver.kind](receiver) for receiver in settings.address_book.receivers
        }
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="trainguard-courier", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def stop(self, *, timeout_seconds: float = 10.0) -> None:
        """Finish the message in hand, and end; what waits is delivered after the next start."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        for notifier in self._notifiers.values():
            notifier.close()

    def deliver_due(self) -> int:
        """Try every message that is due, once; the number of tries. Raises `DatabaseUnavailable`."""
        tries = 0
        while not self._closing.is_set():
            now = self._clock()
            with self._database.read() as connection:
                if not notifications.is_any_due(connection, now):
                    break
            with self._database.write() as connection:
                letters = notifications.claim(connection, now, hold_seconds=HOLD_SECONDS, limit=TAKE_AT_MOST)
            if not letters:
                break  # another courier was quicker
            for letter in letters:
                self._deliver(letter)
            tries += len(letters)
        return tries

    def _work(self) -> None:
        while not self._closing.wait(LOOK_EVERY_SECONDS):
            try:
                self.deliver_due()
            except DatabaseUnavailable as error:
                logger.warning("notifications wait: %s", error)
            except Exception:
                logger.exception("the courier stumbled; it goes on")

    def _deliver(self, letter: Notification) -> None:
        notifier = self._notifiers.get(letter.notifier)
        if notifier is None:
            delivery = Delivery("refused", f"no notifier {letter.notifier!r} is set up any more")
        else:
            delivery = notifier.deliver(letter, self._clock())
        with self._database.write() as connection:
            if delivery.outcome == "delivered":
                notifications.delivered(connection, letter)
            else:
                retry_at = self._retry_at(letter, delivery)
                notifications.failed(connection, letter, delivery.reason, retry_at=retry_at)
                level = logging.WARNING if retry_at is None else logging.INFO
                fate = "given up" if retry_at is None else "to be tried again"
                logger.log(level, "run %s: %s by %s %s: %s", letter.run_id, letter.event, letter.notifier, fate,
                           delivery.reason)  # fmt: skip
        self._on_outcome("delivered" if delivery.outcome == "delivered" else "failed")

    def _retry_at(self, letter: Notification, delivery: Delivery) -> float | None:
        now = self._clock()
        if delivery.outcome == "refused" or now - letter.created_at >= GIVE_UP_AFTER_SECONDS:
            return None
        # Capped before it is raised to a power: 2 ** 2000 is no float.
        pause = FIRST_PAUSE_SECONDS * 2.0 ** min(letter.tries, 16)
        return now + min(max(pause, delivery.retry_after_seconds or 0.0), LONGEST_PAUSE_SECONDS)
