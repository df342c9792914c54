"""Logs of the past, read and judged by the same panel and policy that watch a run that trains.

`readers` turns a file into records, `gathering` chooses the columns and makes a `PastRun` of them, `replaying` says
what would have been found and done, `what_if` asks the same at every sensitivity, `tuning` proposes thresholds from a
user's own runs, and `report` writes a page about it. This room alone, of all the brain, reads files; it prints
nothing and needs nothing but what the brain needs.
"""

from trainguard.replay.errors import LogUnreadable
from trainguard.replay.gathering import read_log
from trainguard.replay.past_run import PastRun
from trainguard.replay.readers import READERS, logs_in
from trainguard.replay.replaying import PastIncident, Replay, Settings, replay

__all__ = ["READERS", "LogUnreadable", "PastIncident", "PastRun", "Replay", "Settings", "logs_in", "read_log", "replay"]
