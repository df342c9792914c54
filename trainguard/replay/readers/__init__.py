"""Readers of the logs that trainings leave behind: one file per format, one table.

A reader gives records, cells by the names of their columns, and knows nothing of signals. To add a format, write its
file (`base.LogReader`) and add its line to `table`: the contract suite under ``tests/contract`` finds it there.
No format needs a package: what would be needed of protocol buffers is in `protobuf_fields`.
"""

from trainguard.replay.readers.base import LogReader, Record
from trainguard.replay.readers.table import READERS, logs_in, reader_of

__all__ = ["READERS", "LogReader", "Record", "logs_in", "reader_of"]
