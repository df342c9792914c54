"""Telling people. The pipeline writes what is to be told; a courier delivers it, at least once, and says how it went.

A notifier turns one message into one delivery and answers what came of it; when to try again is the courier's
business. No judgement here, and nothing that a training waits for. Who is told what, `monitor_server.receivers` says.
A new notifier is a file, a line in `table`, and a kind of receiver.
"""

from monitor_server.notifiers.base import Delivery, Notifier
from monitor_server.notifiers.courier import Courier
from monitor_server.notifiers.table import NOTIFIERS

__all__ = ["NOTIFIERS", "Courier", "Delivery", "Notifier"]
