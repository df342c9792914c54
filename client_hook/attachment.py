"""``attach``: the composition root of the hook. Everything that could fail at 3 a.m. is tried here, first."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from torch import nn
from torch.optim import Optimizer

from client_hook.coming_together import Together
from client_hook.configuration import described, tell_advice
from client_hook.data_window import DataWindow
from client_hook.delivery import HttpTransport, Outbox, Spool
from client_hook.delivery.gathering import GatheringOutbox
from client_hook.errors import AttachError, TrainingHalted
from client_hook.following import FollowingBrain
from client_hook.guard import Guard
from client_hook.hook import TrainingHook
from client_hook.local_brain import LocalBrain, Standing
from client_hook.ownership import check_ownership, check_schedulers
from client_hook.ranks import Patience, Ranks
from client_hook.ranks.finite import SharedFiniteness
from client_hook.recovery.checkpoints import (
    CheckpointLedger,
    Checkpoints,
    DirectoryCheckpoints,
    FunctionCheckpoints,
    LayeredCheckpoints,
    MemoryCheckpoints,
)
from client_hook.recovery.checkpoints.base import NeedsRanks
from client_hook.recovery.checkpoints.layouts import layouts_of
from client_hook.recovery.clipping_limit import ClippingLimit
from client_hook.recovery.folder import usable_folder
from client_hook.recovery.following_keeper import publish_ledger
from client_hook.recovery.journal import Journal, JournalLike, MemoryJournal
from client_hook.recovery.keeper import CheckpointKeeper
from client_hook.recovery.learning_rate import RateMultiplier
from client_hook.recovery.optimizer_state import keeps_state_elsewhere
from client_hook.recovery.pause import LoopPause
from client_hook.recovery.restart import resume
from client_hook.recovery.schedule_rhythm import ScheduleRhythm
from client_hook.recovery.schedulers import HasStateDict
from client_hook.recovery.snapshot import TrainingState
from client_hook.recovery.training import Position, Training
from client_hook.recovery.update_guard import UpdateGuard
from client_hook.settings import HookSettings
from client_hook.signals import Senses
from client_hook.signals.activations import modules_that_fit
from client_hook.signals.shards import is_sharded
from trainguard.policy import Playbook
from trainguard.wire import Acknowledgement, AttemptReport, RunDescription

_logger = logging.getLogger("trainguard")

PATIENCE = Patience()
"""How long ranks wait for each other."""


def attach(
    model: nn.Module | Sequence[nn.Module],
    optimizer: Optimizer | Sequence[Optimizer],
    *,
    run: str | None = None,
    project: str | None = None,
    server: str | None = None,
    token: str | None = None,
    mode: str = "advise",
    scheduler: HasStateDict | Sequence[HasStateDict] | None = None,
    scaler: HasStateDict | None = None,
    state: Mapping[str, HasStateDict] | None = None,
    checkpoints: str | os.PathLike[str] | Checkpoints | None = None,
    checkpoint_every: int = 200,
    keep: int = 3,
    in_memory_bytes: int | None = None,
    resume_unfinished: bool = True,
    synchronous: bool = False,
    guard: bool | str | None = None,
    sensitivity: str = "normal",
    playbook: Playbook | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    detectors: Mapping[str, Mapping[str, float]] | None = None,
    tags: Mapping[str, str] | None = None,
    layers_every: int | None = 50,
    exact_update_ratio_every: int | None = None,
    trace_modules: bool = False,
    activations: str | None = None,
) -> TrainingHook:
    """Attach to a training and return its hook; nothing of the training is changed by it.

    Where several ranks train one model, every rank attaches, with the same arguments and after the model was wrapped;
    this waits for the others.

    Args:
        model: the module, or several (a GAN has two).
        optimizer: the optimizer, or several. Together they must own parameters of the model.
        run: name of the run; default ``TRAINGUARD_RUN``, else the script's name.
        project: what groups runs; default ``TRAINGUARD_PROJECT``, else ``default``.
        server: address of the service; default ``TRAINGUARD_SERVER``. Without either, all is decided locally.
        token: for a service that wants one; default ``TRAINGUARD_TOKEN``.
        mode: ``observe`` only watches, ``advise`` says what it would do and applies what a person approved,
            ``act`` recovers the run by itself and needs ``checkpoints``.
        scheduler: whatever steps the learning rate; restored by a rollback.
        scaler: a ``torch.amp.GradScaler``; restored by a rollback.
        state: further objects with ``state_dict`` and ``load_state_dict``, by name; restored by a rollback.
        checkpoints: a folder (made if its parent exists), or an object of the shape of
            `client_hook.recovery.checkpoints.Checkpoints`.
        checkpoint_every: optimizer steps between checkpoints.
        keep: newest confirmed checkpoints that are kept; older ones stay at growing distances.
        in_memory_bytes: with a folder, the newest checkpoints also stay in memory, up to so many bytes together, so
            that a rollback to one of them waits for no disk. ``None`` for none.
        resume_unfinished: take up a run that was killed, from its last confirmed checkpoint, where the folder
            holds one. ``False`` begins a new run there.
        synchronous: detect and exchange inside ``observe``: deterministic, for tests and benchmarks.
        guard: let no non-finite update touch the weights; default: in mode ``act`` only. ``"strict"`` skips cleanly on
            an accelerator too, for one host read per step.
        sensitivity: of the detectors: ``low``, ``normal`` or ``high``.
        playbook: the run's own ladders of remedies: the path of a YAML file (needs PyYAML), a mapping, or a
            `trainguard.policy.Playbook`.
        detectors: thresholds of detectors that differ from their own, by detector and name:
            ``{"loss_spike": {"z": 9.0}}``, as ``trainguard tune`` proposes them from a user's own runs.
        tags: words to find the run by.
        layers_every: steps between two looks at every layer (gradient norm, parameter norm, update ratio, share of
            zero gradients); also looked at on a finding. ``None`` for never.
        exact_update_ratio_every: steps between two exact update ratios, each of which copies the model; by default
            it is estimated on every step, within 3 % where an update moves most elements.
        trace_modules: name the first module whose output was not finite; looks at every output.
        activations: a pattern of module names (``transformer.h.*``): their activation RMS, and the model's largest
            logit, become signals.

    Raises:
        AttachError: an argument would fail later; it names the argument and the remedy. Nothing was changed.
    """
    settings = HookSettings.from_arguments(
        run=run,
        project=project,
        server=server,
        token=token,
        mode=mode,
        checkpoint_every=checkpoint_every,
        keep=keep,
        in_memory_bytes=in_memory_bytes,
        synchronous=synchronous,
        guard=guard,
        sensitivity=sensitivity,
        playbook=playbook,
        detectors=detectors,
        tags=tags,
        layers_every=layers_every,
        exact_update_ratio_every=exact_update_ratio_every,
        trace_modules=trace_modules,
        activations=activations,
    )
    module = _one_module(model)
    ranks = Ranks.join(is_sharded=is_sharded(module), patience=PATIENCE)
    try:
        training_state = TrainingState(module, optimizer, scheduler, scaler, state)
        _check(settings, training_state, activations, keeps_checkpoints=checkpoints is not None)
        return _Assembly(settings, training_state, ranks).build(checkpoints, resume_unfinished)
    except BaseException as error:
        if ranks is not None:
            ranks.end(f"could not attach: {error}")
        raise


def _check(
    settings: HookSettings, training_state: TrainingState, activations: str | None, *, keeps_checkpoints: bool
) -> None:
    if settings.mode == "act" and not keeps_checkpoints:
        raise AttachError(
            "mode='act' has nothing to roll back to; give checkpoints='checkpoints/' (a folder), or use mode='advise'"
        )
    check_ownership(training_state.model, training_state.optimizers, keeps_checkpoints=keeps_checkpoints)
    check_schedulers(training_state.schedulers, training_state.optimizers)
    if training_state.scaler is not None and not hasattr(training_state.scaler, "unscale_"):
        raise AttachError(
            f"scaler is a {type(training_state.scaler).__name__} without the methods of a torch.amp.GradScaler; give "
            "it as state={'scaler': …} to have it restored"
        )
    if activations is not None and not modules_that_fit(training_state.model, activations):
        raise AttachError(
            f"activations={activations!r} fits no module; use a pattern of names in model.named_modules(), "
            "for example 'transformer.h.*'"
        )
    if keeps_checkpoints and is_sharded(training_state.model):
        own_way = [type(one).__name__ for one in training_state.optimizers if keeps_state_elsewhere(one)]
        if own_way:
            raise AttachError(
                f"{own_way[0]} writes and reads its state in its own way, which cannot be restored shard by shard; use "
                "an optimizer of torch.optim, or attach without checkpoints"
            )
    if keeps_checkpoints:
        training_state.rehearse()


class _Assembly:
    """Builds a hook part by part, in the order in which the parts need each other."""

    def __init__(self, settings: HookSettings, state: TrainingState, ranks: Ranks | None) -> None:
        self._settings = settings
        self._state = state
        self._together = Together(ranks) if ranks is not None else None
        self._clock: Callable[[], float] = time.time
        self._spool_folder: Path | None = None

    def build(self, checkpoints: str | os.PathLike[str] | Checkpoints | None, resume_unfinished: bool) -> TrainingHook:
        journal, store = self._open(checkpoints, resume_unfinished)
        try:
            return self._assemble(journal, store)
        except BaseException:
            # The folder must not stay locked by an attach that failed.
            if store is not None:
                store.close()
            journal.close()
            raise

    def _open(
        self, checkpoints: str | os.PathLike[str] | Checkpoints | None, resume_unfinished: bool
    ) -> tuple[JournalLike, Checkpoints | None]:
        together, in_background = self._together, not self._settings.synchronous
        is_folder = isinstance(checkpoints, (str, os.PathLike))
        own_store = None if is_folder else self._own_store(checkpoints)
        if together is not None and not together.leads:
            copied = together.journal(self._alike())
            if isinstance(checkpoints, (str, os.PathLike)):
                return copied, together.store(checkpoints, copied.run_id, background=in_background)
            self._bind(own_store)
            return copied, own_store
        folder = own_store.folder if isinstance(own_store, (NeedsRanks, FunctionCheckpoints)) else None
        if isinstance(checkpoints, (str, os.PathLike)):
            folder = usable_folder(checkpoints)
        if folder is None:
            in_memory = MemoryJournal(self._settings.run)
            if together is not None:
                together.announce(in_memory, None, self._alike())
            return in_memory, own_store
        journal = Journal(folder, self._settings.run, resume=resume_unfinished)
        try:
            self._spool_folder = folder / "spool" if self._settings.server is not None else None
            store = own_store
            if store is None:
                # A folder per run: a new run never rotates away what a finished one has left.
                folder = folder / str(journal.run_id)
                store = DirectoryCheckpoints(folder, background=in_background)
                if self._settings.in_memory_bytes is not None:
                    store = LayeredCheckpoints(store, MemoryCheckpoints(max_bytes=self._settings.in_memory_bytes))
            if together is not None:
                together.announce(journal, folder, self._alike())
            self._bind(store)
            return journal, store
        except BaseException:
            journal.close()
            raise

    def _bind(self, store: Checkpoints | None) -> None:
        if isinstance(store, NeedsRanks):
            store.bind(lambda: layouts_of(self._state), None if self._together is None else self._together.ranks)

    def _alike(self) -> dict[str, Any]:
        """Arguments that have to be the same on all ranks."""
        settings = self._settings
        return {
            "run": settings.run,
            "mode": settings.mode,
            "guard": settings.guard,
            "checkpoint_every": settings.checkpoint_every,
            "synchronous": settings.synchronous,
        }

    def _own_store(self, checkpoints: object) -> Checkpoints | None:
        if checkpoints is None:
            return None
        if not isinstance(checkpoints, Checkpoints):
            raise AttachError(
                f"checkpoints is a {type(checkpoints).__name__}; give a folder, or an object with the methods of "
                "client_hook.recovery.checkpoints.Checkpoints"
            )
        return checkpoints

    def _assemble(self, journal: JournalLike, store: Checkpoints | None) -> TrainingHook:
        settings, clock = self._settings, self._clock
        together = self._together
        ranks = together.ranks if together is not None else None
        follows = ranks is not None and not ranks.is_leader
        position = Position(attempt=journal.attempt, revision=journal.revision)
        standing = Standing(attempt=position.attempt, revision=position.revision)
        rate = RateMultiplier(self._state.optimizers)
        rate.scale = journal.lr_scale
        if journal.rewarm_steps:
            rate.rewarm(journal.rewarm_steps)
        data = DataWindow()
        rhythm = ScheduleRhythm(self._state.schedulers)
        description = self._describe(journal.run_id)
        guard = Guard(passes=(TrainingHalted,))
        senses = Senses(
            self._state.model,
            self._state.optimizers,
            schedulers=self._state.schedulers,
            scaler=self._state.scaler,
            options=settings.senses,
            rate_factor=lambda: rate.factor,
            sharded_over=ranks.size if ranks is not None and ranks.is_sharded else None,
            guarded=guard,
            complain=guard.complain,
        )
        outbox = Outbox()
        if ranks is not None and ranks.is_leader:
            outbox = GatheringOutbox(
                ranks,
                is_synchronous=settings.synchronous,
                label=senses.label,
                part_lost=lambda checkpoint_id, reason: hook.part_lost(checkpoint_id, reason),
            )
        brain: LocalBrain | FollowingBrain = LocalBrain(
            run_id=journal.run_id,
            mode=settings.mode,
            standing=standing,
            clock=clock,
            has_server=settings.server is not None,
            playbook=settings.playbook,
            project_playbook=journal.project_playbook if settings.server is not None else None,
            sensitivity=settings.sensitivity,
            detectors=settings.detectors,
            memory=journal.policy_memory,
            description=description,
            remember=lambda memory: journal.remember(policy_memory=memory),
            remember_playbook=lambda told: journal.remember(project_playbook=told),
        )
        following = FollowingBrain(ranks) if ranks is not None and follows else None
        brain = following or brain
        keeper: CheckpointKeeper | None = None
        if store is not None:
            ledger = CheckpointLedger(keep=settings.keep, quiet_steps=_quiet_steps(settings.checkpoint_every))
            ledger.load(journal.checkpoints)

            def remember() -> None:
                journal.remember(checkpoints=ledger.records())
                if together is not None and together.leads:
                    publish_ledger(together.ranks, ledger.records())

            options: dict[str, Any] = {
                "state": self._state,
                "store": store,
                "ledger": ledger,
                "every": settings.checkpoint_every,
                "clock": clock,
                "tell": outbox.put,
                "remember": remember,
                "memory": lambda: {
                    "detectors": brain.save(),
                    "data": data.position(),
                    "data_step": position.data_step,
                    "schedulers_still_to_come": rhythm.still_to_come(),
                },
            }
            if together is not None:
                options["identify"] = together.identify(journal.run_id)
            if together is not None and following is not None:
                keeper = together.keeper(following, **options)
            else:
                keeper = CheckpointKeeper(**options)
        training = Training(
            state=self._state,
            keeper=keeper,
            rate=rate,
            data=data,
            position=position,
            clipping=ClippingLimit(journal.clip_norm),
            pause=LoopPause(can_be_ended=settings.server is not None),
            initial_loss_scale=_loss_scale(self._state.scaler),
            world_size=1 if ranks is None else ranks.size,
        )
        hook = TrainingHook(
            description=description,
            training=training,
            senses=senses,
            update_guard=UpdateGuard(is_enabled=settings.guard, is_strict=settings.strict_guard),
            brain=brain,
            standing=standing,
            outbox=outbox,
            # Rank 0 speaks for all.
            transport=HttpTransport(settings.server, settings.token) if settings.server and not follows else None,
            journal=journal,
            guard=guard,
            rhythm=rhythm,
            clock=clock,
            synchronous=settings.synchronous,
            refuses=self._why_refuse(),
            # Beside the journal, whose lock keeps a second trainer out.
            spool=Spool(self._spool_folder, description) if self._spool_folder is not None else None,
            ranks=ranks,
            finiteness=SharedFiniteness(ranks) if ranks is not None and ranks.is_sharded and settings.guard else None,
        )
        try:
            self._begin(training, rhythm, brain, standing, journal, outbox)
            if together is not None:
                together.begin(self._state, training, mode=settings.mode)
                standing.revision = position.revision
        except BaseException:
            hook.detach()
            raise
        if not follows:
            tell_advice(description)
        return hook

    def _begin(
        self,
        training: Training,
        rhythm: ScheduleRhythm,
        brain: LocalBrain | FollowingBrain,
        standing: Standing,
        journal: JournalLike,
        outbox: Outbox,
    ) -> None:
        position, together = training.position, self._together
        resumes = journal.is_resumed and bool(journal.checkpoints) if together is None else together.resumes
        if training.keeper is None or not resumes:
            attempt, keeper = position.attempt, training.keeper
            outbox.put(AttemptReport(attempt=attempt, start_step=0, reason="start", began_at=self._clock()))
            if keeper is not None and keeper.save(attempt=attempt, next_step=0, is_initial=True) is None:
                raise AttachError(f"there would be nothing to roll back to: {keeper.why_not_saved}")
            return
        parent = position.attempt
        if together is not None:
            together.agree_on_checkpoint(training)
        resumed = resume(training, rhythm)
        if together is not None:
            together.resumed_from(resumed.checkpoint, training.keeper)
        journal.remember(attempt=position.attempt)
        standing.attempt = position.attempt
        brain.rewind(resumed.memory.get("detectors"), attempt=position.attempt, next_step=position.next_step)
        note = f"resumed from the confirmed checkpoint of step {resumed.checkpoint.step}"
        _logger.warning("run %r: %s; attempt %d begins", self._settings.run, note, position.attempt)
        outbox.put(
            AttemptReport(
                attempt=position.attempt,
                parent=parent,
                start_step=position.next_step,
                reason="restart",
                began_at=self._clock(),
                note=note,
            )
        )
        outbox.extend(training.keeper.reports())
        if journal.interrupted is not None:
            # Begun and never completed, and now the state is that of before it: as if it had been refused.
            position.revision += 1
            standing.revision = position.revision
            answer = Acknowledgement(
                command_id=journal.interrupted.command_id,
                status="refused",
                action=journal.interrupted.action,
                attempt=position.attempt,
                revision=position.revision,
                step=position.step,
                next_step=position.next_step,
                handled_at=self._clock(),
                reason=f"Refused: the process died while applying it; {note}.",
            )
            journal.complete(
                answer,
                attempt=position.attempt,
                lr_scale=training.rate.scale,
                rewarm_steps=training.rate.rewarm_steps,
                clip_norm=training.clipping.max_norm,
            )
            outbox.put(answer)

    def _why_refuse(self) -> str:
        if self._settings.mode == "observe":
            return "this run is only observed; attach with mode='advise' or 'act' to let commands in"
        return ""

    def _describe(self, run_id: UUID) -> RunDescription:
        settings, state = self._settings, self._state
        return RunDescription(
            run_id=run_id,
            run=settings.run,
            project=settings.project,
            mode=settings.mode,
            started_at=self._clock(),
            checkpoint_every=settings.checkpoint_every,
            world_size=1 if self._together is None else self._together.ranks.size,
            hostname=socket.gethostname()[:255],
            tags=settings.tags,
            config=described(state.model, state.optimizers, state.schedulers, state.scaler),
            sensitivity=settings.sensitivity,
            detectors=settings.detectors,
            playbook=_what_differs(settings.playbook) if settings.playbook else None,
        )


def _what_differs(playbook: Playbook) -> dict[str, Any]:
    """What an older service does not know it refuses; so it is told only what is not as ever."""
    return playbook.model_dump(mode="json", exclude_defaults=True)


def _one_module(model: nn.Module | Sequence[nn.Module]) -> nn.Module:
    if isinstance(model, nn.Module):
        return model
    if not isinstance(model, Sequence) or not model or not all(isinstance(each, nn.Module) for each in model):
        raise AttachError(f"model is a {type(model).__name__}; give a torch.nn.Module, or a list of them")
    return nn.ModuleList(model)


def _loss_scale(scaler: HasStateDict | None) -> float | None:
    """What the scaler says of itself; nothing where it is switched off or of another build."""
    scale = scaler.state_dict().get("scale") if scaler is not None else None
    return float(scale) if isinstance(scale, (int, float)) else None


def _quiet_steps(checkpoint_every: int) -> int:
    """A stretch as long as half the distance of checkpoints shows most troubles; at most 50 steps."""
    return max(4, min(50, checkpoint_every // 2))
