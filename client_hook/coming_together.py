"""How several ranks attach as one run: what rank 0 has opened, the others copy, and all begin at the same place."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from client_hook.errors import AttachError
from client_hook.following import FollowingBrain
from client_hook.ranks import Ranks
from client_hook.ranks.rendezvous import Rendezvous
from client_hook.recovery.checkpoints import Checkpoints, DirectoryCheckpoints, ReplicaCheckpoints
from client_hook.recovery.folder import usable_folder
from client_hook.recovery.following_keeper import REPORTS, FollowingKeeper, LedgerNews, publish_ledger
from client_hook.recovery.journal import JournalLike, MemoryJournal
from client_hook.recovery.keeper import CheckpointKeeper
from client_hook.recovery.snapshot import TrainingState
from client_hook.recovery.training import Training
from client_hook.recovery.verification import checksum
from trainguard.wire import CheckpointReport

_logger = logging.getLogger("trainguard")


class Together:
    """The part of ``attach`` that concerns the other ranks, in the order in which it is called.

    Every method may wait for the others, and raises `AttachError` where one of them could not attach.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self._rendezvous = Rendezvous(ranks)
        self._start: dict[str, Any] = {}

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.ranks.is_leader

    # -- rank 0 has opened journal and store; the others open theirs ---------------------------------------------

    def announce(self, journal: JournalLike, folder: Path | None, arguments: dict[str, Any]) -> None:
        """Rank 0: which run this is, where its checkpoints are, and the arguments that all ranks must share."""
        self._start = {
            "journal": journal.page(),
            "resumes": journal.is_resumed and bool(journal.checkpoints),
            "arguments": arguments,
            "folder": None if folder is None else str(folder.absolute()),
        }
        self._rendezvous.say("start", self._start)

    def journal(self, arguments: dict[str, Any]) -> JournalLike:
        """The others: a copy of rank 0's, in memory only."""
        self._start = self._rendezvous.read("start")
        for name, value in self._start["arguments"].items():
            if arguments.get(name) != value:
                raise AttachError(
                    f"{name} is {arguments.get(name)!r} on rank {self.ranks.rank} and {value!r} on rank 0; "
                    "attach with the same on all ranks"
                )
        return MemoryJournal.copied(self._start["journal"])

    def store(self, checkpoints: str | os.PathLike[str], run_id: UUID, *, background: bool) -> Checkpoints:
        """The others: where this rank keeps its part of each checkpoint, in rank 0's folder of the run."""
        whole = usable_folder(checkpoints) / str(run_id)
        if not whole.is_dir():
            raise AttachError(
                f"checkpoints={str(checkpoints)!r} is another folder on rank {self.ranks.rank} than on rank 0 "
                f"({self._start['folder']}); give one that all ranks see, on a shared disk of all machines"
            )
        own = whole / f"rank-{self.ranks.rank}"
        if self.ranks.is_sharded:
            return DirectoryCheckpoints(own, background=background)
        return ReplicaCheckpoints(own, whole=whole, background=background)

    # -- parts ----------------------------------------------------------------------------------------------------

    def identify(self, run_id: UUID) -> Callable[[int, int, int], UUID]:
        """Names of checkpoints on which all ranks agree without asking."""
        return lambda attempt, step, ordinal: uuid5(run_id, f"checkpoint {attempt}/{step}/{ordinal}")

    def keeper(self, brain: FollowingBrain, **options: Any) -> CheckpointKeeper:
        """The others: one that judges nothing."""
        return FollowingKeeper(lost=brain.part_lost, news=LedgerNews(self.ranks), **options)

    def publish(self, keeper: CheckpointKeeper) -> None:
        """Rank 0: its ledger has changed."""
        publish_ledger(self.ranks, keeper.ledger.records())

    # -- beginning ------------------------------------------------------------------------------------------------

    def agree_on_checkpoint(self, training: Training) -> None:
        """Before a restart: leave only checkpoints to be restored that every rank has its part of."""
        keeper = training.keeper
        assert keeper is not None
        if not self.leads:
            listed = self._rendezvous.read("listed")
            self._rendezvous.answer("here", [one for one in listed if keeper.has(UUID(one))])
            chosen = self._rendezvous.read("chosen")
            assert isinstance(keeper, FollowingKeeper)
            keeper.adopt_for_restart(REPORTS.validate_python(chosen["ledger"]), UUID(chosen["checkpoint_id"]))
            return
        keeper.take_stock()
        listed = [str(report.checkpoint_id) for report in keeper.reports() if report.state == "confirmed"]
        self._rendezvous.say("listed", listed)
        here = self._rendezvous.gather("here")
        # Nothing is distrusted because somebody started with too many ranks by mistake.
        if listed and not set(listed).intersection(*map(set, here.values())):
            without = min(here, key=lambda rank: len(here[rank]))
            raise AttachError(
                f"the folder holds an unfinished run, and rank {without} has its part of none of its checkpoints; "
                "start as many ranks as before, or begin a new run with resume_unfinished=False. "
                "(DistributedCheckpoints can be taken up on another number of ranks.)"
            )
        for rank, has in here.items():
            for missing in set(listed) - set(has):
                keeper.distrust(UUID(missing), f"Rank {rank} does not have its part of it.")

    def resumed_from(self, report: CheckpointReport, keeper: CheckpointKeeper) -> None:
        """Rank 0 has restored it, and the others shall."""
        if self.leads:
            ledger = [each.model_dump(mode="json") for each in keeper.ledger.records()]
            self._rendezvous.say("chosen", {"checkpoint_id": str(report.checkpoint_id), "ledger": ledger})

    @property
    def resumes(self) -> bool:
        """Whether rank 0's journal is of a run that is to be taken up."""
        return bool(self._start["resumes"])

    def begin(self, state: TrainingState, training: Training, *, mode: str) -> None:
        """Every rank is ready: check that they begin at the same place, and let the others know rank 0's revision.

        A run that is only watched and keeps no checkpoints waits for nobody: there rank 0 may attach alone.
        """
        position = training.position
        if self.leads and mode == "observe" and training.keeper is None:
            self._rendezvous.say("go", {"revision": position.revision})
            return
        mine: dict[str, Any] = {"attempt": position.attempt, "next_step": position.next_step}
        mine["keeps checkpoints"] = training.keeper is not None
        if training.keeper is not None and not self.ranks.is_sharded:
            mine["the parameters' checksum"] = checksum(state.model)
        if not self.leads:
            self._rendezvous.answer("ready", mine)
            position.revision = int(self._rendezvous.read("go")["revision"])
            return
        for rank, theirs in self._rendezvous.gather("ready").items():
            for name, value in mine.items():
                if theirs.get(name) != value:
                    _differ(name, rank, f"{value} on rank 0 and {theirs.get(name)} on rank {rank}", mode)
        self._rendezvous.say("go", {"revision": position.revision})
        if training.keeper is not None:
            self.publish(training.keeper)


def _differ(name: str, rank: int, difference: str, mode: str) -> None:
    if name != "the parameters' checksum":
        raise AttachError(f"the ranks do not begin at the same place: {name} is {difference}")
    words = (
        f"the parameters of rank {rank} are not those of rank 0, so one run's checkpoints cannot stand for both; "
        "wrap the model in DistributedDataParallel or fully_shard before attaching"
    )
    if mode == "act":
        raise AttachError(words)
    _logger.warning("%s", words)
