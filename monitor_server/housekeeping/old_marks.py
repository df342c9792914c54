"""Old marks: what only served to go on with a run is dropped when nobody will go on. History is never touched."""

from __future__ import annotations

from monitor_server.housekeeping.chore import Desk
from monitor_server.storage import events, notifications, senders, silences, snapshots

DAY_SECONDS = 86_400.0
KEEP_SNAPSHOTS_SECONDS = 7 * DAY_SECONDS
KEEP_SENDERS_SECONDS = 30 * DAY_SECONDS
KEEP_NOTIFICATIONS_SECONDS = 90 * DAY_SECONDS
KEEP_EVENTS_SECONDS = 3 * DAY_SECONDS
"""Whoever was away for longer reads everything again."""
KEEP_SILENCES_SECONDS = 90 * DAY_SECONDS


def prune_old_marks(desk: Desk) -> int:
    """Drop snapshots of runs long ended, senders long gone, messages long delivered, events and silences long past.

    A spool that is sent even later is recorded again, which its observations' keys make harmless.
    """
    pruned = snapshots.prune(desk.connection, ended_before=desk.now - KEEP_SNAPSHOTS_SECONDS)
    pruned += senders.prune(desk.connection, seen_before=desk.now - KEEP_SENDERS_SECONDS)
    pruned += notifications.prune(desk.connection, created_before=desk.now - KEEP_NOTIFICATIONS_SECONDS)
    pruned += events.prune(desk.connection, happened_before=desk.now - KEEP_EVENTS_SECONDS)
    pruned += silences.prune(desk.connection, ended_before=desk.now - KEEP_SILENCES_SECONDS)
    return pruned
