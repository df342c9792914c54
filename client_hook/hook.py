"""The hook itself: it wires senses, hands and postman to somebody's loop, and does nothing else.

The training thread reads numbers, appends them and looks in its inbox; detectors, packing and network live in
the worker thread. Every public verb goes through the guard: a bug of ours never reaches the loop, and the only
exception it may raise there is `TrainingHalted`.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ParamSpec, TypeVar
from uuid import UUID, uuid4

import torch
from pydantic import JsonValue
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from client_hook.configuration import tell_advice
from client_hook.delivery import EXIT_SECONDS, Outbox, Spool, Transport, Worker
from client_hook.errors import AttachError, TrainingHalted
from client_hook.following import FollowingBrain
from client_hook.guard import Guard
from client_hook.local_brain import Concern, LocalBrain, Standing
from client_hook.outcome import StepOutcome
from client_hook.practice import Practice
from client_hook.ranks import Ranks
from client_hook.ranks.finite import FlagLost, SharedFiniteness
from client_hook.recovery.errors import CheckpointInvalid
from client_hook.recovery.foreign import snapshot_of_foreign
from client_hook.recovery.halt_file import write_halt_report
from client_hook.recovery.journal import JournalLike
from client_hook.recovery.keeper import CheckpointKeeper
from client_hook.recovery.rerun import HealthyLevel, RerunReport, StepFunction, rerun
from client_hook.recovery.schedule_rhythm import ScheduleRhythm
from client_hook.recovery.shared_boundary import PartLost, SharedBoundary
from client_hook.recovery.snapshot import Snapshot
from client_hook.recovery.step_boundary import Handled, StepBoundary
from client_hook.recovery.training import Training
from client_hook.recovery.update_guard import UpdateGuard
from client_hook.signals import Reading, Senses, as_number, gradient_norm_of
from client_hook.signals.tensors import HALF_TYPES, gradients_in, parameters_of, total_norm
from client_hook.termination import LastWords
from trainguard.wire import (
    Command,
    Evaluation,
    Finding,
    Halt,
    Observation,
    Receipt,
    RunDescription,
    RunState,
    WireModel,
)

_logger = logging.getLogger("trainguard")
Batch = TypeVar("Batch")
P = ParamSpec("P")
R = TypeVar("R")

PAUSE_LOOKS_EVERY_SECONDS = 1.0
"""A paused loop wakes for every command; so often it looks all the same."""

VALIDATION_LOSSES = ("val_loss", "eval_loss", "validation_loss", "valid_loss", "test_loss", "loss")
"""Names under which an evaluation gives its loss; the first that is there is the signal ``val_loss``."""

_THE_END = object()
"""A mark in the outbox behind everything else: nothing more will happen in this training."""


class TrainingHook:
    """Attached to one training by `client_hook.attach`; also a context manager that closes it."""

    def __init__(
        self,
        *,
        description: RunDescription,
        training: Training,
        senses: Senses,
        update_guard: UpdateGuard,
        brain: LocalBrain | FollowingBrain,
        standing: Standing,
        outbox: Outbox,
        transport: Transport | None,
        journal: JournalLike,
        guard: Guard,
        rhythm: ScheduleRhythm,
        clock: Callable[[], float],
        synchronous: bool,
        refuses: str,
        spool: Spool | None = None,
        ranks: Ranks | None = None,
        finiteness: SharedFiniteness | None = None,
    ) -> None:
        self._description = description
        self._training = training
        self._senses = senses
        self._update_guard = update_guard
        self._brain = brain
        self._standing = standing
        self._outbox = outbox
        self._worker = Worker(
            outbox=outbox,
            transport=transport,
            description=description,
            sender=uuid4(),
            standing=standing,
            on_items=self._on_items,
            on_receipt=self._on_receipt,
            complain=guard.complain,
            spool=spool,
            clock=clock,
        )
        self._last_words = LastWords(lambda: self._worker.close(EXIT_SECONDS))
        self._journal = journal
        self._guard = guard
        self._clock = clock
        self._is_synchronous = synchronous
        self._rhythm = rhythm
        # Rank 0 alone describes the run.
        self._practice = Practice(rhythm) if isinstance(brain, LocalBrain) else None
        self._refuses = refuses
        self._called = threading.Event()
        self._ranks = ranks
        self._finiteness = finiteness
        self._shared: SharedBoundary | None = None
        if ranks is not None:
            self._shared = SharedBoundary(
                training, journal, clock, ranks=ranks, in_lockstep=synchronous, hurry=self._called.set
            )
        self._boundary = self._shared or StepBoundary(training, journal, clock)
        self._inbox: deque[Command | Concern | PartLost] = deque()
        self._commands: deque[Command] = deque()
        self._pending: tuple[int, int, float, Reading] | None = None
        self._worker_runs = False
        self._accumulated: list[Any] = []
        self._is_rerunning = False
        self._validation_loss: float | None = None
        self._has_announced_end = False
        self._follows = False
        training.follows_next_step = lambda: self._follows
        training.data.counts_steps = lambda: self._follows
        training.rewound = self._rewound
        self._pause = training.pause
        # Not traced where ``optimizer.step`` is compiled: it would be compiled anew for every parameter.
        before, after = untraced(self._before_update), untraced(self._after_update)
        self._handles = [
            handle
            for optimizer in training.state.optimizers
            for handle in (optimizer.register_step_pre_hook(before), _before_others(optimizer, after))
        ]

        if transport is not None:
            self._last_words.begin()

    # -- what a loop uses ---------------------------------------------------------------------------------------

    def steps(self, total: int) -> Iterator[int]:
        """Yield the step to make, from where the run stands up to ``total`` (exclusive); goes back when told."""
        self._follows = True
        self._worker.describe(total_steps=total)
        position = self._training.position
        while position.next_step < total and not self.is_closed:
            step, seen = position.next_step, position.data_step
            yield step
            if position.data_step == seen and position.next_step == step:
                # The body left this step out (`continue` on a bad batch): the loop must still end.
                position.next_step = step + 1

    def observe(self, loss: Any = None, **signals: Any) -> StepOutcome:
        """Tell the hook that an optimizer step was made; once per step, after ``optimizer.step()``.

        ``loss`` is a tensor with one element or a number; left out, it is the mean of what ``accumulate`` was
        given. Further numbers become signals; ``grad_norm`` is taken as the norm before clipping, and ``samples``
        and ``tokens`` of this step give a throughput. Applies at most one command, here and nowhere else.

        Raises:
            TrainingHalted: every remedy was tried, or a person asked for it.
        """
        if self._is_rerunning:
            raise RuntimeError("it called hook.observe()")
        training = self._training
        position = training.position
        step = position.next_step
        position.step, position.next_step = step, step + 1
        position.data_step += 1
        if self._has_announced_end:
            return StepOutcome(step, position.next_step, position.data_step, reason="the hook is closed")
        try:
            self._note(step, loss, signals)
        except Exception as fault:
            self._guard.caught(fault)
        if not training.rate.is_idle:
            # A step that raised and was caught has left the multiplier on; no checkpoint must take it for the rate.
            training.rate.heal()
            if training.rate.advance():
                with self._guard:
                    self._journal.remember(rewarm_steps=0)
        if training.updates.to_skip:
            training.updates.advance()
        handled: Handled | None = None
        if not self._guard.tripped:
            try:
                handled = self._at_boundary()
                if training.pause.is_on:
                    handled = self._wait_while_paused(handled)
            except Exception as fault:
                self._guard.caught(fault)
        if handled is None:
            return StepOutcome(step, position.next_step, position.data_step)
        if handled.must_halt:
            self._halt(handled)
        return self._outcome(step, handled)

    def accumulate(self, loss: Any) -> None:
        """Note the loss of a micro-batch; ``observe()`` then takes the mean of them."""
        with self._guard:
            for number in self._usable({"loss": loss}).values():
                is_half = isinstance(number, Tensor) and number.dtype in HALF_TYPES
                # Summed in bf16, the losses of 300 micro-batches were 5 % off in their mean.
                self._accumulated.append(number.float() if is_half else number)  # type: ignore[union-attr]

    def register_checkpoint(
        self, path: str | os.PathLike[str], *, step: int, load: Callable[[str | os.PathLike[str]], object]
    ) -> UUID:
        """Let rollbacks go back to a checkpoint of your own as well; returns its id. Call it between two steps.

        ``load(path)`` puts it into the model and the optimizers, as your script does; the training is then put back
        as it was, bit for bit, and a copy is kept among the hook's checkpoints, *confirmed* because you vouch for
        it. ``step`` is the step to make after it, in this run's numbers.

        Raises:
            AttachError: it could not be read, does not fit, or is not finite; the training is as it was.
        """
        keeper, position = self._training.keeper, self._training.position
        if keeper is None:
            raise AttachError("this run keeps no checkpoints; attach with checkpoints='a folder/'")
        if self._shared is not None:
            raise AttachError("with several ranks no checkpoint can be registered")
        if not 0 <= step <= position.next_step:
            raise AttachError(f"step={step} is not between 0 and the step to make now, {position.next_step}")
        self._training.rate.heal()
        try:
            snapshot = snapshot_of_foreign(self._training.state, lambda: load(path))
        except CheckpointInvalid as error:
            raise AttachError(f"{os.fspath(path)!r} cannot be registered: {error}") from error
        report = keeper.register(snapshot, attempt=position.attempt, step=step)
        if report is None:
            raise AttachError(f"{os.fspath(path)!r} cannot be registered: {keeper.why_not_saved}")
        return report.checkpoint_id

    def evaluated(self, **values: Any) -> None:
        """Report an evaluation: ``hook.evaluated(val_loss=2.31)``. Tensors with one element, or numbers.

        The validation loss (the first of ``val_loss``, ``eval_loss``, ``validation_loss``, ``valid_loss``,
        ``test_loss`` and ``loss``) is also a signal of the next observation, so that the detectors see it in its place.
        """
        with self._guard:
            numbers = {name: float(value) for name, value in self._usable(values).items()}
            if not numbers:
                return
            self._put(
                Evaluation(
                    attempt=self._training.position.attempt,
                    step=self._training.position.next_step,
                    evaluated_at=self._clock(),
                    values=numbers,
                )
            )
            self._validation_loss = next((numbers[name] for name in VALIDATION_LOSSES if name in numbers), None)

    def _usable(self, values: dict[str, Any]) -> dict[str, Tensor | float]:
        """Those that are one real number; the others are complained about."""
        numbers: dict[str, Tensor | float] = {}
        for name, value in values.items():
            try:
                numbers[name] = as_number(name, value)
            except Exception as error:
                self._senses.unusable(name, error)
        return numbers

    def clip_grad_norm_(
        self,
        max_norm: float,
        norm_type: float = 2.0,
        error_if_nonfinite: bool = False,
        parameters: Tensor | Iterable[Tensor] | None = None,
    ) -> Tensor:
        """Clip as ``torch.nn.utils.clip_grad_norm_`` does, and note the norm before clipping, which it returns.

        Takes every optimizer's parameters unless told otherwise; where optimizers take turns (a GAN), give those of
        the one whose turn it is. Under a GradScaler the gradients are unscaled first, where the loop has not done so:
        those of every optimizer that has a gradient among ``parameters``.
        """
        state, takes_all = self._training.state, parameters is None
        if parameters is None:
            parameters = (parameter for optimizer in state.optimizers for parameter in parameters_of(optimizer))
        elif isinstance(parameters, Tensor):
            parameters = [parameters]
        clipped = {id(parameter): parameter for parameter in parameters}
        if state.scaler is not None:
            for optimizer in state.optimizers:
                if any(one.grad is not None and id(one) in clipped for one in parameters_of(optimizer)):
                    _unscale_once(state.scaler, optimizer)
        seen: Tensor | None = None
        if norm_type == 2.0:
            max_norm = self._training.clipping.tighter_of(max_norm)
        elif not self._senses.watched.is_sharded:
            with self._guard, torch.no_grad():
                seen = total_norm(gradients_in(clipped.values()))
        norm = torch.nn.utils.clip_grad_norm_(list(clipped.values()), max_norm, norm_type, error_if_nonfinite)
        if type(norm) is not Tensor and hasattr(norm, "full_tensor"):
            # Of a sharded model; clipping is a collective anyhow, and a plain number is what one can print.
            norm = norm.full_tensor()
        with self._guard:
            if norm_type == 2.0:
                seen = norm
                if self._practice is not None:
                    self._practice.clipped_at(max_norm)
            if seen is not None:
                self._senses.norm_seen(seen, of=None if takes_all else frozenset(clipped))
        return norm

    def batches(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """One pass over ``loader``, which can pass over a window of batches when told."""
        return self._training.data.batches(loader)

    def rerun_test(self, step_function: StepFunction, *, times: int = 2) -> RerunReport:
        """Make one step again and say whether data, state or hardware is behind its trouble.

        ``step_function`` makes one forward and backward pass of a batch that it already has, and returns the loss:
        ``hook.rerun_test(lambda: backward_of(batch))``. It steps nothing. It is called ``times`` times from the
        present state, and once from the newest confirmed checkpoint where the batch is bad. Parameters, buffers,
        random streams and gradients are afterwards what they were, bit for bit; whatever else the function changes is
        its own affair. Takes as long as its passes, and the memory of two copies of the model and its gradients.
        Never raises; what cannot be done is said in the report.
        """
        if self._training.world_size > 1:
            # What one rank's report says decides whether there is a third pass: the others would wait for ever.
            return RerunReport(
                "not run", "Several ranks would not make the same passes; test this rank's batch in a single process."
            )
        with self._guard:
            return self._rerun(step_function, times)
        return RerunReport("not run", "The hook failed inside, see the log.")

    def rerun_with(self, step_function: StepFunction | None) -> None:
        """Let the re-run test be ordered from elsewhere too (``trainguard command RUN rerun``); once, before the loop.

        ``step_function`` as in `rerun_test`, for the batch that the loop has at that time:
        ``hook.rerun_with(lambda: loss_and_backward(batch))`` finds the loop's latest ``batch`` by its name. It is
        called inside ``observe``, only when a person has ordered the test. ``None`` takes it back.
        """
        if step_function is None:
            self._training.rerun = None
            return
        function = step_function
        self._training.rerun = lambda times: self._rerun(function, times)

    def _rerun(self, step_function: StepFunction, times: int) -> RerunReport:
        """Raises only where the training could not be put back."""
        level = None
        with self._guard:
            level = self._brain.healthy_loss() if isinstance(self._brain, LocalBrain) else None
        accumulated, self._is_rerunning = self._accumulated, True
        self._accumulated = []
        try:
            report = rerun(
                self._training.state,
                step_function,
                times=times,
                older=self._older_checkpoint,
                level=None if level is None else HealthyLevel(*level),
            )
        finally:
            self._accumulated, self._is_rerunning = accumulated, False
            # The passes were no step's own time, norm or activations.
            with self._guard:
                self._senses.forget_step()
        _logger.warning("re-run test at step %d: %s", self._training.position.next_step, report.sentence)
        return report

    def _older_checkpoint(self) -> tuple[int, Snapshot] | None:
        keeper = self._training.keeper
        confirmed = [one for one in keeper.reports() if one.state == "confirmed"] if keeper is not None else []
        if keeper is None or not confirmed:
            return None
        newest = max(confirmed, key=lambda one: (one.attempt, one.step))
        return newest.step, keeper.load(newest.checkpoint_id)

    @property
    def lr_scale(self) -> float:
        """The learning-rate multiplier; the applied rate is the scheduled one times this."""
        return self._training.rate.scale

    @property
    def next_step(self) -> int:
        """The step to make now; after a restart the restored one."""
        return self._training.position.next_step

    @property
    def attempt(self) -> int:
        """Raised at every rollback or restart."""
        return self._training.position.attempt

    @property
    def run_id(self) -> UUID:
        """The run's identity, also across restarts."""
        return self._description.run_id

    @property
    def is_closed(self) -> bool:
        """Whether the hook has let go of the training."""
        return self._has_announced_end

    def close(self, timeout: float = 10.0) -> None:
        """Let go of the training; what is not yet delivered is sent within ``timeout`` seconds.

        A checkpoint that is being written to disk is waited for first, ten minutes at most. A delivery thread that is
        still busy at the end of the time is given a second more.
        """
        self._close("finished", timeout)

    def __enter__(self) -> TrainingHook:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._close("finished" if kind is None else "failed", 10.0)

    # -- what the optimizers call -------------------------------------------------------------------------------

    def _before_update(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        changed = None
        if not self._guard.tripped:
            closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
            with self._guard:
                self._senses.before_update(optimizer, has_closure=callable(closure))
                is_left_out = self._training.updates.take_away(optimizer)
                if is_left_out:
                    self._senses.mark_skipped()
                elif self._update_guard.is_enabled:
                    self._prevent_bad_update(optimizer)
                if is_left_out or self._update_guard.is_enabled:
                    changed = self._with_guarded_closure(optimizer, args, kwargs, leave_out=is_left_out)
                self._training.clipping.apply(optimizer)
            with self._guard:
                self._training.state.before_step()
                self._rhythm.before_update()
        # Whatever switches itself off, the multiplier stays: dropping it would undo the cure.
        self._training.rate.apply(optimizer)
        return changed

    def _prevent_bad_update(self, optimizer: Optimizer) -> None:
        norm = self._senses.gradient_norm_tensor(optimizer)
        if self._finiteness is not None:
            norm = self._of_all_ranks(norm)
        skipped = self._update_guard.before_update(optimizer, norm)
        if skipped is not False:
            self._senses.mark_skipped(skipped)

    def _of_all_ranks(self, norm: Tensor | None) -> Tensor:
        """Of a sharded model: whether any rank's shard of the gradients is bad, as a norm."""
        assert self._finiteness is not None
        try:
            return self._finiteness.of(norm)
        except FlagLost as lost:
            if self._shared is not None:
                self._shared.broadcast_halt(str(lost))
            self._close("halted", 10.0)
            raise TrainingHalted(str(lost)) from lost

    def _with_guarded_closure(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any], *, leave_out: bool
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """What ``optimizer.step`` is to be called with instead, where it makes its gradients in a closure."""
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if not callable(closure):
            return None
        guarded = self._update_guard.around_closure(
            optimizer, closure, self._norm_in_closure, leave_out=leave_out, ours=self._guard
        )
        if "closure" in kwargs:
            return args, {**kwargs, "closure": guarded}
        return (args[0], guarded, *args[2:]), kwargs

    def _norm_in_closure(self, optimizer: Optimizer) -> Tensor | None:
        norm = gradient_norm_of(optimizer)
        return norm if self._finiteness is None else self._of_all_ranks(norm)

    def _after_update(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._training.rate.take_off(optimizer)
        with self._guard:
            # Also when watching has just been switched off: a flag that stayed would keep every later update away.
            if self._update_guard.after_update(optimizer):
                self._senses.mark_skipped()
        if not self._guard.tripped:
            with self._guard:
                self._senses.after_update(optimizer)

    # -- one observation ----------------------------------------------------------------------------------------

    def _note(self, step: int, loss: Any, signals: dict[str, Any]) -> None:
        if self._guard.tripped:
            return
        training = self._training
        self._rhythm.observed()
        parts = len(self._accumulated)
        if parts:
            loss = sum(self._accumulated) / parts if loss is None else loss
            self._accumulated = []
        if self._practice is not None:
            self._practice.observed(parts)
        if not training.rate.is_idle and training.rate.scale != 1.0:
            signals.setdefault("lr_scale", training.rate.scale)
        if self._validation_loss is not None:
            signals.setdefault("val_loss", self._validation_loss)
            self._validation_loss = None
        if training.data.is_used:
            signals.setdefault("data_wait_seconds", training.data.take_wait_seconds())
        reading = self._senses.reading(loss, signals)
        # On CUDA the values of this step are still on their way; those of the last one have arrived.
        if self._pending is not None:
            self._send_pending()
        attempt, observed_at = training.position.attempt, self._clock()
        if reading.ready():
            self._send(attempt, step, observed_at, reading)
        else:
            self._pending = (attempt, step, observed_at, reading)

    def _send_pending(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._send(*pending)

    def _send(self, attempt: int, step: int, observed_at: float, reading: Reading) -> None:
        values = self._senses.read(reading)
        self._outbox.put(Observation(attempt, step, observed_at, values))
        if self._practice is not None:
            seen = self._practice.measured(values)
            if seen is not None:
                self._practice = None
                self._describe_further(seen)
        if self._senses.watched.remarks:
            for remark in self._senses.take_remarks():
                self._say(remark, attempt, step)

    def _describe_further(self, seen: dict[str, JsonValue]) -> None:
        """Let service and diagnosis know, and say what there is to say about it."""
        before = self._description
        self._description = before.model_copy(update={"config": {**before.config, **seen}})
        self._worker.describe(config=self._description.config)
        if isinstance(self._brain, LocalBrain):
            self._brain.describe(self._description)
        tell_advice(self._description, known=before)

    def _say(self, remark: str, attempt: int, step: int) -> None:
        """In the log, and to the service as a finding: what it says cannot travel as a number."""
        sentence = f"At step {step}, {remark}."
        # Where good and bad steps take turns, each bad one begins a stretch.
        self._guard.complain(remark, "%s", sentence)
        self._put(
            Finding(
                kind="non_finite",
                severity="info",
                detector="first_nonfinite",
                attempt=attempt,
                step=step,
                onset_step=step,
                message=sentence,
            )
        )

    def _at_boundary(self) -> Handled | None:
        if self._shared is not None:
            self._shared.arrive()
        handled = self._look_for_command()
        if self._shared is not None:
            self._shared.leave()
        keeper = self._training.keeper
        if keeper is not None and (handled is None or handled.attempt is None):
            self._look_after_checkpoints(keeper)
        return handled

    def _look_for_command(self) -> Handled | None:
        if self._is_synchronous:
            self._worker.exchange()
        elif not self._worker_runs:
            self._worker.start()
            # Asked until it runs and never again: asking a thread whether it lives takes its lock, at 2 µs.
            self._worker_runs = self._worker.is_alive
        if self._shared is not None:
            met = self._shared.meet()
            if met is not None:
                return self._took_effect(met)
        if not self._inbox and not self._commands:
            return None
        self._take_in()
        return self._handle_one()

    def _wait_while_paused(self, handled: Handled | None) -> Handled | None:
        """Stay at this boundary: what is ordered meanwhile is applied here, the worker goes on telling that we live.

        Returns what matters most to the loop: a halt, else the latest rollback, else the latest command.
        """
        _logger.warning("paused at step %d for up to %.0f s", self._training.position.step, self._pause.seconds_left)
        if self._shared is not None:
            self._shared.stay()
        while self._pause.is_on or (self._shared is not None and not self._shared.go_on()):
            self._called.wait(min(self._pause.seconds_left, PAUSE_LOOKS_EVERY_SECONDS))
            self._called.clear()
            if self._shared is not None:
                self._shared.look_again()
            came = self._look_for_command()
            if came is None:
                continue
            if came.must_halt or came.attempt is not None or handled is None or handled.attempt is None:
                handled = came
            if came.must_halt:
                self._pause.end()
        # The waiting is no step's own time.
        self._senses.forget_step()
        return handled

    def _take_in(self) -> None:
        while self._inbox:
            message = self._inbox.popleft()
            if isinstance(message, Command):
                self._commands.append(message)
                continue
            if isinstance(message, PartLost):
                if self._training.keeper is not None:
                    self._training.keeper.distrust(message.checkpoint_id, message.reason)
                continue
            self._senses.look_closely()
            if (
                message.is_critical
                and self._training.keeper is not None
                and message.attempt == self._training.position.attempt
            ):
                self._training.keeper.suspect(message.onset_step, message.message)

    def _handle_one(self) -> Handled | None:
        while self._commands and not (self._shared is not None and self._shared.is_busy):
            command = self._commands.popleft()
            if self._refuses:
                self._tell(self._boundary.refuse(command, self._refuses))
                continue
            handled = self._boundary.handle(command)
            if handled is None:  # the other ranks are further on, and it is applied where they stop
                return None
            if self._took_effect(handled) is not None:
                return handled
        return None

    def _took_effect(self, handled: Handled) -> Handled | None:
        """Tell of it; ``None`` where the training is as it was."""
        self._tell(handled)
        return None if handled.acknowledgement.status == "refused" or handled.is_repeated else handled

    def _tell(self, handled: Handled) -> None:
        answer = handled.acknowledgement
        if handled.attempt is not None:
            # What was measured just before the model went back belongs to the branch that is left.
            self._send_pending()
            self._senses.forget_step()
            self._put(handled.attempt)
        self._standing.attempt = self._training.position.attempt
        self._standing.revision = self._training.position.revision
        if not handled.is_repeated:
            level = logging.INFO if answer.status == "applied" else logging.WARNING
            _logger.log(level, "%s: %s", answer.action, answer.reason)
        self._put(answer)
        self._worker.wake()

    def _look_after_checkpoints(self, keeper: CheckpointKeeper) -> None:
        position = self._training.position
        keeper.hold(self._brain.best_step)
        if not self._brain.is_troubled:
            keeper.confirm(self._brain.seen_step)
        if keeper.is_due(position.next_step):
            report = keeper.save(attempt=position.attempt, next_step=position.next_step)
            if report is None:
                self._guard.complain(
                    "no checkpoint", "no checkpoint at step %d: %s", position.next_step, keeper.why_not_saved
                )

    def _outcome(self, step: int, handled: Handled) -> StepOutcome:
        position = self._training.position
        answer = handled.acknowledgement
        return StepOutcome(
            step=step,
            next_step=position.next_step,
            data_step=position.data_step,
            action=answer.action,
            rolled_back=handled.attempt is not None,
            reason=answer.reason,
        )

    def _halt(self, handled: Handled) -> None:
        answer, command = handled.acknowledgement, handled.command
        reason = f"{answer.reason} {command.reason}".strip()
        why = next((order.report for order in command.orders if isinstance(order, Halt)), None)
        report: dict[str, Any] = {
            "run": self._description.run,
            "run_id": str(self.run_id),
            "step": answer.step,
            "attempt": answer.attempt,
            "reason": reason,
            "command": command.model_dump(mode="json"),
            "acknowledgement": answer.model_dump(mode="json"),
            "lr_scale": self._training.rate.scale,
            "halt": why.model_dump(mode="json") if why else None,
            "story": why.sentences() if why else [],
            "file": None,
        }
        for sentence in report["story"]:
            _logger.error("%s", sentence)
        reason = self._with_file(reason, report)
        if self._shared is not None:
            self._shared.broadcast_halt(reason)
        self._close("halted", 10.0)
        raise TrainingHalted(reason, report)

    def _with_file(self, reason: str, report: dict[str, Any]) -> str:
        """The report goes beside the checkpoints, where there is a folder; the reason with its path."""
        folder = self._journal.folder
        if folder is None:
            return reason
        try:
            path = write_halt_report(folder, report, now=self._clock())
        except OSError as error:
            _logger.warning("the report of the halt could not be written to '%s': %s", folder, error)
            return reason
        report["file"] = str(path)
        return f"{reason} The report is in '{path}'."

    # -- what the worker calls ----------------------------------------------------------------------------------

    def _on_items(self, items: list[Any]) -> tuple[list[WireModel], bool]:
        considered = self._brain.consider(items)
        self._inbox.extend(considered.concerns)
        self._inbox.extend(considered.commands)
        messages = considered.messages
        if any(item is _THE_END for item in items):
            messages = messages + self._brain.finish()
        return messages, considered.flush_now

    def _on_receipt(self, receipt: Receipt) -> None:
        self._brain.heard(receipt)
        self._boundary.server_ahead_seconds = receipt.server_time - self._clock()
        self._inbox.extend(receipt.commands)
        if receipt.commands:
            self._called.set()

    def _rewound(self, snapshot: Snapshot) -> None:
        position = self._training.position
        self._validation_loss = None
        saved = snapshot.memory.get("detectors")
        self._brain.rewind(saved, attempt=position.attempt, next_step=position.next_step)

    # -- the end ------------------------------------------------------------------------------------------------

    def _put(self, message: WireModel) -> None:
        self._outbox.put(message)

    def part_lost(self, checkpoint_id: UUID, reason: str) -> None:
        """Another rank could not keep its part of a checkpoint: nothing can go back to it. From any thread."""
        self._inbox.append(PartLost(checkpoint_id, reason))

    def detach(self) -> None:
        """Take the hook's hands off the optimizers; safe to call twice."""
        for handle in self._handles:
            handle.remove()
        self._senses.close()
        self._last_words.end()

    def _close(self, state: RunState, timeout: float) -> None:
        if self._has_announced_end:
            return
        self._has_announced_end = True
        self.detach()
        with self._guard:
            self._send_pending()
        with self._guard:
            self._training.rate.heal()
        with self._guard:
            if self._training.keeper is not None:
                self._training.keeper.close()
        self._standing.run_state = state
        self._outbox.put(_THE_END)
        self._outbox.close()
        with self._guard:
            self._worker.close(timeout)
        if self._ranks is not None:
            with self._guard:
                self._ranks.end("has finished" if state == "finished" else f"has {state}")
        with self._guard:
            self._journal.finish(state)
            self._journal.close()


def untraced(function: Callable[P, R]) -> Callable[P, R]:
    """``function``, into which ``torch.compile`` does not look; as it is where nothing was compiled or ever will be."""
    # Every optimizer of torch loads dynamo when it is made; otherwise a second of importing would be spent here.
    if "torch._dynamo" not in sys.modules:
        return function
    disabled: Callable[P, R] = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
    return disabled


def _before_others(optimizer: Optimizer, post_hook: Callable[..., None]) -> RemovableHandle:
    """Register it to run first: a schedule that is stepped in a post-hook is to find its own rate there, not ours."""
    handle = optimizer.register_step_post_hook(post_hook)
    hooks = getattr(optimizer, "_optimizer_step_post_hooks", None)
    if isinstance(hooks, OrderedDict) and handle.id in hooks:
        hooks.move_to_end(handle.id, last=False)
    return handle


def _unscale_once(scaler: Any, optimizer: Optimizer) -> None:
    """Unscale unless the loop did: `unscale_` raises on the second call of a step."""
    states = getattr(scaler, "_per_optimizer_states", None)
    stage = states[id(optimizer)]["stage"] if states is not None and id(optimizer) in states else None
    if stage is None or getattr(stage, "name", "READY") == "READY":
        scaler.unscale_(optimizer)
