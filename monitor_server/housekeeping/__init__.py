"""The chores that no envelope would trigger: a run that fell silent sends nothing that could say so.

A chore is a function of a `Desk` in a file of its own, and may be run by several processes at once: each is
harmless if doubled. Nothing here judges a run's health. A new chore is a file and a line in `table`.
"""

from monitor_server.housekeeping.chore import Chore, Desk
from monitor_server.housekeeping.housekeeper import Housekeeper
from monitor_server.housekeeping.table import CHORES

__all__ = ["CHORES", "Chore", "Desk", "Housekeeper"]
