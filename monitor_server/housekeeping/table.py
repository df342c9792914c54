"""The explicit table of chores. One new chore is one new file and one line here."""

from __future__ import annotations

from monitor_server.housekeeping.chore import Chore
from monitor_server.housekeeping.expired_commands import expire_commands
from monitor_server.housekeeping.old_marks import prune_old_marks
from monitor_server.housekeeping.retention import thin_out
from monitor_server.housekeeping.rollup_backlog import work_off
from monitor_server.housekeeping.silent_runs import call_silent
from monitor_server.housekeeping.vacuum import give_back

CHORES: tuple[Chore, ...] = (
    Chore("call runs silent", call_silent),
    Chore("expire commands", expire_commands),
    Chore("prune old marks", prune_old_marks, every_seconds=3600.0),
    Chore("make old roll-ups", work_off, every_seconds=10.0, pieces=50),
    Chore("thin out old observations", thin_out, every_seconds=60.0, pieces=100),
    Chore("give back free pages", give_back, every_seconds=600.0, pieces=50),
)
"""In the order in which they are done."""
