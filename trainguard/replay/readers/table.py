"""The explicit table of readers. One new format is one new file and one line here."""

from __future__ import annotations

from pathlib import Path

from trainguard.replay.errors import LogUnreadable
from trainguard.replay.readers.base import LogReader
from trainguard.replay.readers.comma_separated import CommaSeparated
from trainguard.replay.readers.json_lines import JsonLines
from trainguard.replay.readers.lightning_metrics import LightningMetrics
from trainguard.replay.readers.opening import head_of
from trainguard.replay.readers.spool import Spool
from trainguard.replay.readers.tensorboard_events import TensorboardEvents
from trainguard.replay.readers.trainer_state import TrainerState
from trainguard.replay.readers.wandb_offline import WandbOffline

READERS: tuple[LogReader, ...] = (
    WandbOffline(),
    TensorboardEvents(),
    Spool(),
    TrainerState(),
    JsonLines(),
    LightningMetrics(),
    CommaSeparated(),
)
"""Every reader; the first that a file suits reads it, so the particular stand before the general."""


def reader_of(path: Path) -> LogReader:
    """The reader that a file suits. Raises `LogUnreadable` where there is none, or no such file."""
    head = head_of(path)
    for reader in READERS:
        if reader.suits(path, head):
            return reader
    known = ", ".join(reader.name for reader in READERS)
    raise LogUnreadable(path, f"its format is not known; what can be read: {known}")


def logs_in(path: Path) -> list[tuple[Path, ...]]:
    """The logs behind a name, each with its parts: a file is one; of a folder, the most particular kind it holds.

    Raises:
        LogUnreadable: the folder holds no log.
    """
    if not path.is_dir():
        return [(path,)]
    for reader in READERS:
        for pattern in reader.patterns:
            found = sorted(one for one in path.glob(pattern) if one.is_file())
            if found:
                return [tuple(found)] if reader.is_split else [(one,) for one in found]
    looked_for = ", ".join(pattern for reader in READERS for pattern in reader.patterns[:1])
    raise LogUnreadable(path, f"this folder holds no log ({looked_for}); name the file itself")
