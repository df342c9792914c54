"""The explicit table of chores. One new chore is one new file and one line here."""

from __future__ import annotations

from monitor_server.housekeeping.chore import Chore
from monitor_server.housekeeping.expired_commands import expire_commands
from monitor_server.housekeeping.old_marks import prune_old_marks
from monitor_server.housekeeping.silent_runs import call_silent

CHORES: tuple[Chore, ...] = (
    Chore("call runs silent", call_silent),
    Chore("expire commands", expire_commands),
    Chore("prune old marks", prune_old_marks, every_seconds=3600.0),
)
"""In the order in which they are done."""
