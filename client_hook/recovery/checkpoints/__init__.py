"""Where checkpoints are kept, and the book about them.

A store (`base.Checkpoints`) keeps snapshots under ids and judges nothing: `DirectoryCheckpoints` on disk,
`MemoryCheckpoints` in a ring of copies, `ReplicaCheckpoints` one rank's part of what rank 0 has written.
`distributed.DistributedCheckpoints` all ranks together in torch's own format (not imported here: it takes a while).
`CheckpointLedger` judges and keeps nothing: which are confirmed good, which are suspect, which may go. Taking and
restoring snapshots does not live here. To add a store, write one file with a class of the protocol's shape, add a
line below, and a line in the contract test of all stores.
"""

from client_hook.recovery.checkpoints.base import CheckpointNews, CheckpointRecord, Checkpoints
from client_hook.recovery.checkpoints.directory import DirectoryCheckpoints
from client_hook.recovery.checkpoints.functions import FunctionCheckpoints
from client_hook.recovery.checkpoints.layered import LayeredCheckpoints
from client_hook.recovery.checkpoints.ledger import CheckpointLedger
from client_hook.recovery.checkpoints.memory import MemoryCheckpoints
from client_hook.recovery.checkpoints.replica import ReplicaCheckpoints
from client_hook.recovery.errors import CheckpointInvalid

__all__ = [
    "CheckpointInvalid",
    "CheckpointLedger",
    "CheckpointNews",
    "CheckpointRecord",
    "Checkpoints",
    "DirectoryCheckpoints",
    "FunctionCheckpoints",
    "LayeredCheckpoints",
    "MemoryCheckpoints",
    "ReplicaCheckpoints",
]
