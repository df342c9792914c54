"""The memory of each running run: its detectors, warm. A cache, and never more than that.

The database is the truth. A `LiveRun` belongs to whoever took it out of `LiveMemory`, and is put back only
after the commit; whatever goes wrong in between, it is thrown away and the next one is recalled from the
latest snapshot and the observations since. So findings do not depend on which process answered, or on what
it had answered before. The `EventFeed` wakes those who look on. No judgement and no HTTP here.
"""

from monitor_server.live.feed import EventFeed
from monitor_server.live.lineage import lineage
from monitor_server.live.live_run import LiveRun, begin_attempt, recall
from monitor_server.live.memory import LiveMemory
from monitor_server.live.rolling import Rolling

__all__ = ["EventFeed", "LiveMemory", "LiveRun", "Rolling", "begin_attempt", "lineage", "recall"]
