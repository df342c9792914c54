"""The backlog of roll-ups: observations that are older than roll-ups get those that ingest would have made."""

from __future__ import annotations

from monitor_server.housekeeping.chore import Desk
from monitor_server.storage import backlog, rollups, runs


def work_off(desk: Desk) -> int:
    """A piece of one attempt's roll-ups, or the note that they are whole; 1 while there was something to do.

    What is missing is asked of the tables each time, so that a piece cut off by a crash is simply done again.
    """
    due = backlog.first(desk.connection)
    if due is None:
        return 0
    run_id, attempt = due
    # As ingest does, so that no observation of the run comes in between.
    run = runs.lock(desk.connection, [run_id]).get(run_id)
    if run is None:
        return 1
    gap = rollups.gap_of(desk.connection, run_id, attempt)
    if gap is None:
        backlog.settle(desk.connection, run_id, attempt)
    else:
        rollups.fill(desk.connection, run_id, attempt, gap)
    if run.attempt == attempt and (gap is None or gap.is_whole):
        # A process that rolls this attempt up may remember an open bucket as one without a beginning, never to be
        # written: beside those written here, that would be a hole. The version rises, so that it looks again.
        runs.change(desk.connection, run_id, {"version": run.version + 1})
    return 1
