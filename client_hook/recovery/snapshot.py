"""Everything a rollback gives back, as one consistent copy, and the object that takes it and puts it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from client_hook.errors import AttachError
from client_hook.recovery.errors import CheckpointInvalid, RestoreFailed, StateNotStorable
from client_hook.recovery.model_tensors import (
    ModelTensors,
    capture_model,
    find_model_differences,
    named_buffers,
    named_parameters,
    restore_model,
)
from client_hook.recovery.optimizer_state import (
    OptimizerTensors,
    capture_optimizer,
    find_optimizer_differences,
    parameters_of,
    restore_optimizer,
    restore_options,
)
from client_hook.recovery.random_streams import capture_random, reseed_random, restore_random
from client_hook.recovery.schedulers import (
    HasStateDict,
    capture_scheduler,
    restore_scheduler,
    times_advanced,
)
from client_hook.recovery.storable import decoded, encoded, find_unstorable
from client_hook.recovery.tensor_trees import (
    clone_tree,
    is_tensor_finite,
    move_tensors,
    size_in_bytes,
    spread_like,
    walk_tensors,
)

FORMAT = 1
"""Version of the payload; a reader refuses a newer one."""

_CPU = torch.device("cpu")


@dataclass
class Snapshot:
    """A copy of a training's state at one step boundary. Its tensors are its own; nobody else writes them."""

    model: ModelTensors
    optimizers: list[OptimizerTensors]
    schedulers: list[dict[str, Any]] = field(default_factory=list)
    """``class``, ``values`` and ``advanced`` (how often it had been stepped) of each."""
    scaler: dict[str, Any] | None = None
    random: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    """What each of the user's objects said in ``state_dict()``, by name."""
    state_devices: dict[str, str] = field(default_factory=dict)
    """Where each tensor of ``state`` that was not on the CPU stood, by path."""
    is_initial: bool = False
    """Taken at attach, before the first step, and not inside ``observe`` after one: see `TrainingState.before_step`."""
    memory: dict[str, Any] = field(default_factory=dict)
    """The hook's own memory of that moment, as plain values."""
    meant_non_finite: frozenset[str] = frozenset()
    """Tensors that were non-finite before the first step and were meant so; not written to the file."""

    @property
    def size_bytes(self) -> int:
        """Bytes of its tensors."""
        return size_in_bytes([self.model, self.optimizers, self.state])

    def find_non_finite(self) -> list[str]:
        """Which floating tensors hold NaN or infinity, save those that did so before the first step."""
        tensors = [(f"parameter '{name}'", t) for name, t in self.model["parameters"].items()]
        for kind in ("buffers", "temporary_buffers"):
            tensors += [(f"buffer '{name}'", t) for name, t in self.model[kind].items()]
        for index, optimizer in enumerate(self.optimizers):
            tensors += walk_tensors([optimizer["state"], optimizer["own"]], f"optimizers[{index}]")
        for name, part in self.state.items():
            tensors += walk_tensors(part, f"state '{name}'")
        return [path for path, tensor in tensors if path not in self.meant_non_finite and not is_tensor_finite(tensor)]

    def is_finite(self) -> bool:
        """Whether it may become a checkpoint; see `find_non_finite`."""
        return not self.find_non_finite()

    def payload(self) -> dict[str, Any]:
        """Plain containers for a file that ``torch.load(weights_only=True)`` can read; tensors are shared."""
        return {
            "format": FORMAT,
            "model": self.model,
            "optimizers": self.optimizers,
            "schedulers": encoded(self.schedulers),
            "scaler": encoded(self.scaler),
            "random": encoded(self.random),
            "state": encoded(self.state),
            "state_devices": self.state_devices,
            "is_initial": self.is_initial,
            "memory": encoded(self.memory),
        }

    @classmethod
    def from_payload(cls, payload: Any) -> Snapshot:
        """Read what `payload` wrote.

        Raises:
            CheckpointInvalid: it is no payload, or one of a newer version.
        """
        if not isinstance(payload, dict) or not isinstance(payload.get("format"), int):
            raise CheckpointInvalid("it was not written by trainguard; name a checkpoint that this hook made")
        if payload["format"] > FORMAT:
            raise CheckpointInvalid(
                f"it has format {payload['format']} and this trainguard reads up to {FORMAT}; update trainguard"
            )
        try:
            return cls(
                model=payload["model"],
                optimizers=payload["optimizers"],
                schedulers=decoded(payload["schedulers"]),
                scaler=decoded(payload["scaler"]),
                random=decoded(payload["random"]),
                state=decoded(payload["state"]),
                state_devices=payload["state_devices"],
                is_initial=payload["is_initial"],
                memory=decoded(payload["memory"]),
            )
        except KeyError as error:
            raise CheckpointInvalid(f"its part {error} is missing; use an older checkpoint") from error


class TrainingState:
    """Knows all that belongs to a training's state; takes copies of it and puts them back in place.

    Args:
        model: compiled and data-parallel wrappers are seen through.
        optimizers: one or several.
        schedulers: whatever steps the rates; none, one or several.
        scaler: a ``torch.amp.GradScaler``, or something with its ``state_dict``.
        state: the user's own objects with ``state_dict`` and ``load_state_dict``, by name.

    Raises:
        AttachError: an argument is of a kind that could not be restored.

    Take copies only between steps, with the rate multiplier taken off (`RateMultiplier.heal`).
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Optimizer | Sequence[Optimizer],
        schedulers: HasStateDict | Sequence[HasStateDict] | None = (),
        scaler: HasStateDict | None = None,
        state: Mapping[str, HasStateDict] | None = None,
    ) -> None:
        self.model = model
        self.optimizers = _listed(optimizers)
        self.schedulers = _listed(schedulers)
        self.scaler = scaler
        self.state = dict(state or {})
        if not isinstance(model, nn.Module):
            raise AttachError(f"model is a {type(model).__name__}, not a torch.nn.Module")
        for index, optimizer in enumerate(self.optimizers):
            if not isinstance(optimizer, Optimizer):
                raise AttachError(f"optimizers[{index}] is a {type(optimizer).__name__}, not a torch optimizer")
        restorable = [(f"schedulers[{index}]", each) for index, each in enumerate(self.schedulers)]
        restorable += [(f"state[{name!r}]", each) for name, each in self.state.items()]
        restorable += [("scaler", scaler)] if scaler is not None else []
        for where, each in restorable:
            if not isinstance(each, HasStateDict):
                raise AttachError(
                    f"{where} is a {type(each).__name__} without state_dict and load_state_dict, so a rollback "
                    "would silently forget it; give it both, or leave it out"
                )
        # A causal mask of -inf is a healthy buffer, and a best-so-far of inf is healthy state. What is
        # non-finite before the first step was meant so, and is never called poisoned; parameters that learn are.
        self._meant_non_finite = frozenset(
            path for path, tensor in self._current_tensors() if not is_tensor_finite(tensor)
        )
        self._restored_initial: Snapshot | None = None

    def _current_tensors(self) -> list[tuple[str, torch.Tensor]]:
        tensors = [(f"buffer '{name}'", buffer) for name, buffer in named_buffers(self.model)]
        tensors += [(f"parameter '{name}'", p) for name, p in named_parameters(self.model) if not p.requires_grad]
        for name, each in self.state.items():
            tensors += walk_tensors(each.state_dict(), f"state '{name}'")
        return tensors

    def capture(self, device: torch.device | None = _CPU) -> Snapshot:
        """A consistent copy on ``device`` (``None``: beside the originals). Draws no random number."""
        state = {name: each.state_dict() for name, each in self.state.items()}
        devices = {path: str(t.device) for path, t in walk_tensors(state) if t.device.type != "cpu"}
        return Snapshot(
            model=capture_model(self.model, device),
            optimizers=[capture_optimizer(optimizer, device) for optimizer in self.optimizers],
            schedulers=[capture_scheduler(scheduler) for scheduler in self.schedulers],
            scaler=None if self.scaler is None else clone_tree(self.scaler.state_dict(), device),
            random=capture_random(),
            state=clone_tree(state, device),
            state_devices=devices,
            meant_non_finite=self._meant_non_finite,
        )

    def rehearse(self) -> Snapshot:
        """Find out now whether a checkpoint could be written and read back; returns the copy it was tried on.

        Raises:
            StateNotStorable: names the part that cannot be copied, or not be read with ``weights_only=True``.
        """
        try:
            snapshot = self.capture()
        except Exception as error:
            raise StateNotStorable(
                f"the training's state cannot be copied ({type(error).__name__}: {error}); "
                "let state_dict return tensors, numbers, strings, lists and dictionaries"
            ) from error
        parts: list[tuple[str, Any]] = [("model", snapshot.model), ("scaler", snapshot.scaler)]
        parts += [(f"optimizers[{index}]", part) for index, part in enumerate(snapshot.optimizers)]
        parts += [(f"schedulers[{index}]", part["values"]) for index, part in enumerate(snapshot.schedulers)]
        parts += [(f"state[{name!r}]", part) for name, part in snapshot.state.items()]
        parts += [("random", snapshot.random)]
        for where, part in parts:
            found = find_unstorable(part, where)
            if found is not None:
                raise StateNotStorable(
                    f"{found}: it could not be read back from a checkpoint; let state_dict return tensors, "
                    "numbers, strings, lists and dictionaries"
                )
        return snapshot

    def is_finite(self, snapshot: Snapshot) -> bool:
        """Whether ``snapshot`` may be restored or become a checkpoint, by what this training knows."""
        return not self._find_non_finite(snapshot)

    def _find_non_finite(self, snapshot: Snapshot) -> list[str]:
        return replace(snapshot, meant_non_finite=self._meant_non_finite).find_non_finite()

    def validate(self, snapshot: Snapshot) -> None:
        """Compare the whole of ``snapshot`` with this training. Touches nothing.

        Raises:
            CheckpointInvalid: a sentence with everything that does not fit.
        """
        try:
            problems = self._find_differences(snapshot)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise CheckpointInvalid(
                f"the checkpoint is not built as this hook builds them ({type(error).__name__}: {error}); "
                "use one that this hook made"
            ) from error
        if problems:
            more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
            raise CheckpointInvalid(
                f"the checkpoint does not fit this training: {'; '.join(problems[:5])}{more}. "
                "Nothing was touched; use a checkpoint of this very training"
            )

    def _find_differences(self, snapshot: Snapshot) -> list[str]:
        problems = find_model_differences(self.model, snapshot.model)
        if len(snapshot.optimizers) != len(self.optimizers):
            problems.append(f"it has {len(snapshot.optimizers)} optimizers, the training {len(self.optimizers)}")
        for index, (optimizer, stored) in enumerate(zip(self.optimizers, snapshot.optimizers)):
            problems += [f"optimizers[{index}]: {each}" for each in find_optimizer_differences(optimizer, stored)]
        kinds = [type(scheduler).__name__ for scheduler in self.schedulers]
        kept = [stored["class"] for stored in snapshot.schedulers]
        if kinds != kept:
            problems.append(f"it has schedulers {kept}, the training {kinds}")
        if self.scaler is not None and snapshot.scaler is None:
            problems.append("it holds no scaler, the training uses one")
        elif self.scaler is not None and bool(self.scaler.state_dict()) != bool(snapshot.scaler):
            problems.append("the scaler was switched on or off since")
        problems += [f"it holds no state {name!r}" for name in self.state if name not in snapshot.state]
        problems += [f"its state {name!r} is unknown here" for name in snapshot.state if name not in self.state]
        for part in ("python", "torch"):
            if part not in snapshot.random:
                problems.append(f"its random state of {part} is missing")
        problems += [f"{path} is not finite in it" for path in self._find_non_finite(snapshot)]
        return problems

    def restore(self, snapshot: Snapshot, *, scheduler: bool = True, reseed: int | None = None) -> None:
        """Put ``snapshot`` back, in place: every tensor, group and list keeps its identity. It is only read.

        Args:
            snapshot: what to restore.
            scheduler: ``False`` leaves schedulers and the groups' options alone, for one that is stepped once
                per epoch in a loop whose epochs are not rewound.
            reseed: an attempt number; the random streams are then seeded from the checkpoint's and from it,
                so that the very batch is not replayed. ``None`` restores them exactly, for a restart.

        Raises:
            CheckpointInvalid: it does not fit; nothing was touched.
            RestoreFailed: it broke half-way, and completing it failed as well.
        """
        self.validate(snapshot)
        try:
            self._put_back(snapshot, scheduler, reseed)
        except BaseException as first:
            # Whatever it was, an interrupt from the keyboard included: half a model must not train on.
            try:
                self._put_back(snapshot, scheduler, reseed)
            except BaseException as second:
                raise RestoreFailed(
                    f"the restore broke half-way ({type(first).__name__}: {first}) and could not be completed "
                    f"({type(second).__name__}: {second}); the model in memory is neither the old nor the restored one"
                ) from second
            if not isinstance(first, Exception):
                raise

    def _put_back(self, snapshot: Snapshot, scheduler: bool, reseed: int | None) -> None:
        restore_model(self.model, snapshot.model)
        for optimizer, tensors in zip(self.optimizers, snapshot.optimizers):
            restore_optimizer(optimizer, tensors, options=scheduler)
        if scheduler:
            for each, stored in zip(self.schedulers, snapshot.schedulers):
                restore_scheduler(each, stored)
        if self.scaler is not None and snapshot.scaler:
            self.scaler.load_state_dict(clone_tree(snapshot.scaler, None))
        # Many objects keep the very tensors they are given; they get their own, where the old ones stood.
        spread = dict(walk_tensors({name: mine.state_dict() for name, mine in self.state.items()}))
        given = move_tensors(
            snapshot.state,
            lambda path, tensor: spread_like(_at_home(tensor, snapshot.state_devices.get(path)), spread.get(path)),
        )
        for name, mine in self.state.items():
            mine.load_state_dict(given[name])
        if reseed is None:
            restore_random(snapshot.random)
        else:
            reseed_random(snapshot.random, reseed)
        self.clear_gradients()
        self._restored_initial = snapshot if snapshot.is_initial and scheduler else None

    def clear_gradients(self) -> None:
        """Set every ``.grad`` to ``None``, of the model's parameters and of every optimizer's."""
        for parameter in self.model.parameters():
            parameter.grad = None
        for optimizer in self.optimizers:
            for owned in parameters_of(optimizer):
                owned.grad = None

    def before_step(self) -> bool:
        """Call it first in every optimizer step pre-hook; returns whether it had to put the schedule right.

        Loops call ``scheduler.step()`` before ``observe`` or after it. A checkpoint taken inside ``observe``
        and restored inside ``observe`` fits both. The one taken at attach does not: where the scheduler is
        stepped after ``observe``, it would be one step ahead for ever. So after the attach snapshot came back
        its schedule is put in place once more, right before the first step, if a scheduler moved in between.
        """
        snapshot, self._restored_initial = self._restored_initial, None
        if snapshot is None or not any(self._moves_since(snapshot)):
            return False
        for optimizer, tensors in zip(self.optimizers, snapshot.optimizers):
            restore_options(optimizer, tensors)
        for each, stored in zip(self.schedulers, snapshot.schedulers):
            restore_scheduler(each, stored)
        return True

    def scheduler_advance(self, since: Snapshot) -> list[int]:
        """How often each scheduler was stepped since ``since``; 0 for one that does not count its steps.

        One that is stepped once per epoch, or by an evaluation, has advanced less often than there were
        steps, and is not to be rewound where the epochs are not. The snapshot of attach counts once more,
        because a loop that steps its scheduler after ``observe`` is still to do so for the step just made.
        """
        return [count + 1 if since.is_initial and count > 0 else count for count in self._moves_since(since)]

    def _moves_since(self, snapshot: Snapshot) -> list[int]:
        moves = []
        for scheduler, stored in zip(self.schedulers, snapshot.schedulers):
            now, then = times_advanced(scheduler), stored["advanced"]
            moves.append(0 if now is None or then is None else now - then)
        return moves


def _listed(given: Any) -> list[Any]:
    if given is None:
        return []
    return list(given) if isinstance(given, (list, tuple)) else [given]


def _at_home(tensor: torch.Tensor, device: str | None) -> torch.Tensor:
    if device is None:
        return tensor.clone()
    try:
        return tensor.to(device, copy=True)
    except (RuntimeError, AssertionError):
        return tensor.clone()  # restarted on a machine without that device
