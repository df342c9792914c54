"""Retention: the observations of runs that ended long ago go, as their project wishes; what they came to stays."""

from __future__ import annotations

from monitor_server.housekeeping.chore import Desk
from monitor_server.live import Rolling
from monitor_server.storage import retention, rollups, runs

DAY_SECONDS = 86_400.0
ROWS_AT_ONCE = 5_000
"""Some 50 ms of work: no envelope waits for longer."""


def thin_out(desk: Desk) -> int:
    """Drop a piece of what is past its time: the observations of one attempt, some thousands at once.

    Roll-ups, findings, incidents and decisions are kept: a chart of such a run is as fine as its narrowest buckets.
    Before its first row goes, the buckets that an ended attempt left open are closed.
    """
    wishes = {project: desk.now - days * DAY_SECONDS for project, days in desk.settings.retention.items()}
    if not wishes:
        return 0
    due = retention.next_due(desk.connection, wishes)
    if due is None:
        return 0
    run_id, attempt, last_step = due
    # As ingest does: a run that fell silent may come back at any moment.
    run = runs.lock(desk.connection, [run_id]).get(run_id)
    if run is None or run.state == "running":
        return 1
    if not retention.is_rolled_up(desk.connection, run_id, attempt, last_step):
        rolling = Rolling.recall(desk.connection, run_id, attempt, last_step)
        rollups.replace(desk.connection, list(rolling.close()))
        # Who remembers an open bucket of it looks again: it is written now, and would be written twice.
        runs.change(desk.connection, run_id, {"version": run.version + 1})
    return retention.drop(desk.connection, run_id, attempt, ROWS_AT_ONCE)
