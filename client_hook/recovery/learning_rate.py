"""The learning-rate multiplier: a lower rate that no schedule undoes, and a second warm-up.

Editing ``param_group["lr"]`` once is undone by the next scheduler step, or by a loop that sets the rate itself.
So the rate is multiplied in the optimizer's step pre-hook and put back in its post-hook: between steps the
schedule sees its own numbers, and in the step the multiplier is always there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


@dataclass
class _Change:
    """One group's rate as it was found and as it was made."""

    group: dict[str, Any]
    found: float | Tensor
    made: float | Tensor

    def undo(self, *, unless_changed: bool) -> None:
        """Put the found rate back, bit for bit; ``unless_changed`` leaves one that somebody set since."""
        current = self.group.get("lr")
        if isinstance(self.found, Tensor) and isinstance(current, Tensor):
            # Comparing waits for the device, so it is done only where a step went wrong.
            if not unless_changed or torch.equal(current, self.made):  # type: ignore[arg-type]
                with torch.no_grad():
                    current.copy_(self.found)
        elif type(current) is type(self.made) and current == self.made:
            self.group["lr"] = self.found


class RateMultiplier:
    """What the scheduled rate is multiplied by: ``scale``, and while warming up again a rising share of it.

    Used from the training thread only. With a scale of 1 and no warm-up it touches nothing. Groups without
    ``"lr"`` are left alone. A tensor rate is changed in place, once, also where several groups share it.

    Args:
        optimizers: those whose step hooks call `apply` and `take_off`.
    """

    def __init__(self, optimizers: Iterable[Optimizer]) -> None:
        self._scale = 1.0
        self._rewarm_steps = 0
        self._rewarm_done = 0
        self._changes: dict[Optimizer, list[_Change]] = {optimizer: [] for optimizer in optimizers}
        self.is_idle = True
        """Whether there is nothing to multiply, to `advance` or to `heal`: one look for who passes on every step."""

    @property
    def scale(self) -> float:
        """The product of all lowerings so far; never rewound by a rollback.

        Raises:
            ValueError: set to something that is not a positive, finite number.
        """
        return self._scale

    @scale.setter
    def scale(self, scale: float) -> None:
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"scale={scale} trains nothing; give a positive, finite number")
        self._scale = float(scale)
        self._settle()

    @property
    def rewarm_steps(self) -> int:
        """The length of the warm-up that is under way, in observations; 0 where none is."""
        return self._rewarm_steps

    @property
    def factor(self) -> float:
        """What the next update's rate is multiplied by.

        The k-th of ``n`` warm-up updates gets ``k / (n + 1)`` of the scale: near 0 first, the whole of it after.
        """
        if not self._rewarm_steps:
            return self._scale
        return self._scale * (self._rewarm_done + 1) / (self._rewarm_steps + 1)

    def rewarm(self, steps: int) -> None:
        """Climb from near 0 to the scheduled rate times the scale over the next ``steps`` observations.

        Raises:
            ValueError: ``steps`` is less than 1.
        """
        if steps < 1:
            raise ValueError(f"steps={steps} is no warm-up; give at least 1")
        self._rewarm_steps, self._rewarm_done = steps, 0
        self._settle()

    def advance(self) -> bool:
        """An observation was made; returns whether a warm-up ended with it.

        Counted here and not per update, because a GAN steps several optimizers per observation, some of them
        several times, and all of them shall be warm at the same time.
        """
        if not self._rewarm_steps:
            return False
        self._rewarm_done += 1
        if self._rewarm_done < self._rewarm_steps:
            return False
        self._rewarm_steps = self._rewarm_done = 0
        self._settle()
        return True

    def apply(self, optimizer: Optimizer) -> None:
        """In the step pre-hook, after everything that reads the scheduled rate."""
        changes = self._changes.setdefault(optimizer, [])
        if changes:
            # The step before this one raised, so its post-hook never ran.
            self._undo(changes, unless_changed=True)
        factor = self.factor
        if factor == 1.0:
            return
        multiplied: set[int] = set()
        for group in optimizer.param_groups:
            rate = group.get("lr")
            if isinstance(rate, Tensor):
                if id(rate) in multiplied:
                    continue
                multiplied.add(id(rate))
                made = rate.detach() * factor
                changes.append(_Change(group, rate.detach().clone(), made))
                with torch.no_grad():
                    rate.copy_(made)
            elif rate is not None:
                changes.append(_Change(group, rate, rate * factor))
                group["lr"] = rate * factor

    def take_off(self, optimizer: Optimizer) -> None:
        """In the step post-hook: the groups hold again the very rates that `apply` found."""
        self._undo(self._changes.get(optimizer, []), unless_changed=False)

    def heal(self) -> None:
        """Take off what a step that raised has left on; a rate that was set since is the user's and stays."""
        for changes in self._changes.values():
            if changes:
                self._undo(changes, unless_changed=True)

    def _undo(self, changes: list[_Change], *, unless_changed: bool) -> None:
        if not changes:
            return
        for change in changes:
            change.undo(unless_changed=unless_changed)
        changes.clear()
        self._settle()

    def _settle(self) -> None:
        self.is_idle = self._scale == 1.0 and not self._rewarm_steps and not any(self._changes.values())
