"""Expired commands: what nobody answered in time is closed, so that the list says what became of it."""

from __future__ import annotations

from monitor_server.housekeeping.chore import Desk
from monitor_server.storage import commands


def expire_commands(desk: Desk) -> int:
    """Close the pending commands whose time is over. Receipts leave them out already."""
    return commands.expire(desk.connection, desk.now)
