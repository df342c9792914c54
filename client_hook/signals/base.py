"""The shape that all signals share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer


@dataclass
class Watched:
    """What signals look at, and the two measurements that later signals build on.

    ``gradient_norms`` and ``parameter_norms`` hold, by ``id(optimizer)``, this step's 0-dim norms: counting
    non-finite elements always cost 73 ms where the norm cost 5.7, so counting asks the norm first.
    """

    model: nn.Module
    optimizers: Sequence[Optimizer]
    scaler: Any | None
    clock: Callable[[], float]
    gradient_norms: dict[int, Tensor] = field(default_factory=dict)
    parameter_norms: dict[int, Tensor] = field(default_factory=dict)
    alarmed: bool = False
    """The latest reading that reached the host held a non-finite norm. On an accelerator, where a norm cannot
    be looked at without waiting, this is what starts the counting: one step late, and no step waits."""


class Signal(ABC):
    """One measurement per optimizer step, made of up to four moments in the order of time.

    Several optimizers may be stepped per observation, and the same one several times; the last step of each
    counts. All moments run on the training thread, under ``torch.no_grad()``; those a signal has no use for, it
    leaves as they are here: empty.
    """

    names: ClassVar[tuple[str, ...]]
    """Every name that `collect` or `interpret` may put out."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched

    def before_update(self, optimizer: Optimizer) -> None:  # noqa: B027
        """In the optimizer's step pre-hook, before the rate multiplier is applied. Gradients are readable."""

    def after_update(self, optimizer: Optimizer) -> None:  # noqa: B027
        """In the optimizer's step post-hook, after the rate multiplier was taken off."""

    @abstractmethod
    def collect(self) -> dict[str, Tensor | float]:
        """This step's values: 0-dim tensors on any device, or numbers. The step is forgotten afterwards."""

    def interpret(self, values: dict[str, float]) -> None:  # noqa: B027
        """Correct labels in place once the numbers are on the host (on CUDA: a step later, in step order)."""

    def forget_step(self) -> None:
        """Drop what was measured of a step that will not be observed: the model was just put back."""
        self.collect()
