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


MOST_NAMED = 5
"""Folders told of where a log lies deeper than it was looked for."""


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
    deeper = ([one for name in reader.patterns for one in _beneath(path, name)] for reader in READERS)
    beneath = sorted({one.parent for one in next(filter(None, deeper), [])})
    if beneath:
        shown = ", ".join(str(one) for one in beneath[:MOST_NAMED])
        more = f" and {len(beneath) - MOST_NAMED} more" if len(beneath) > MOST_NAMED else ""
        raise LogUnreadable(path, f"no log lies right in this folder, but there are some in {shown}{more}; name those")
    looked_for = ", ".join(pattern for reader in READERS for pattern in reader.patterns[:1])
    raise LogUnreadable(path, f"this folder holds no log ({looked_for}); name the file itself")


def _beneath(folder: Path, pattern: str) -> list[Path]:
    """Logs one and two folders deeper: where Lightning, wandb and Hugging Face keep theirs."""
    found = [one for depth in ("*", "*/*") for one in folder.glob(f"{depth}/{pattern}")]
    return [one for one in found if one.is_file()]
