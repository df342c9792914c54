"""The shape that all signals share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer

from client_hook.signals.sampling import ParameterSample


@dataclass(frozen=True)
class SenseOptions:
    """What a user may ask of the signals beyond the default; ``attach`` has the same names."""

    layers_every: int | None = 50
    """Steps between two looks at every layer; ``None`` for never, not even on a finding."""
    exact_update_ratio_every: int | None = None
    """Steps between two exact update ratios, which copy the model; ``None`` to estimate always."""
    trace_modules: bool = False
    """Watch every module's output, to name the first that was non-finite."""
    activations: str | None = None
    """Modules whose outputs are measured, as a pattern of their names: ``transformer.h.*``."""


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
    options: SenseOptions = field(default_factory=SenseOptions)
    rate_factor: Callable[[], float] = lambda: 1.0
    """What the scheduled rates are multiplied by at this update."""
    schedulers: Sequence[object] = ()
    """Whatever was given to ``attach`` as such."""
    samples: dict[int, ParameterSample] = field(default_factory=dict)
    """By ``id(optimizer)``: the sampled parameters, before and after this step's update."""
    remarks: list[str] = field(default_factory=list)
    """What has to be said in words: sentences for the log and for the service, not yet taken."""
    sharded_over: int | None = None
    """How many ranks the parameters are spread over, ``None`` where they are not. If they are, every norm is this
    rank's share: the squares of all ranks' add up to that of the whole."""
    gradient_norms: dict[int, Tensor] = field(default_factory=dict)
    parameter_norms: dict[int, Tensor] = field(default_factory=dict)
    makes_gradients: bool = False
    """Whether the optimizer that is being stepped makes its gradients in a closure: those before it are stale."""
    guarded: Callable[[Callable[[Any], object]], Callable[[Any], object]] = lambda look: look
    """Around what is called from within the model's forward pass, where no verb of ours stands in between."""
    alarmed: bool = False
    """The latest reading that reached the host held a non-finite norm. On an accelerator, where a norm cannot
    be looked at without waiting, this is what starts the counting: one step late, and no step waits."""

    @property
    def is_sharded(self) -> bool:
        """Whether what is measured here is a share."""
        return self.sharded_over is not None

    def is_bad(self, norm: Tensor | None) -> bool:
        """Whether ``norm`` is known to be non-finite: now on the CPU, one step late on an accelerator."""
        if norm is None:
            return False
        return self.alarmed if norm.device.type != "cpu" else not math.isfinite(norm.item())


class Signal(ABC):
    """One measurement per optimizer step, made of up to four moments in the order of time.

    Several optimizers may be stepped per observation, and the same one several times; the last step of each
    counts. All moments run on the training thread, those around the update under ``torch.no_grad()``; those a
    signal has no use for, it leaves as they are here: empty, and they are not even called.
    """

    names: ClassVar[tuple[str, ...]]
    """Every name that `collect` or `interpret` may put out; one that ends in ``/`` is the beginning of a name."""

    measures_updates_only: bool = False
    """Whether nothing can come of it where no optimizer was stepped since the last `collect`; then it is not asked."""

    concerned: ClassVar[frozenset[str] | None] = None
    """Names of which one at least is there wherever `interpret` has something to do; ``None`` where it must see all."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched

    def before_update(self, optimizer: Optimizer) -> None:  # noqa: B027
        """In the optimizer's step pre-hook, before the rate multiplier is applied. Gradients are readable."""

    def after_update(self, optimizer: Optimizer) -> None:  # noqa: B027
        """In the optimizer's step post-hook, after the rate multiplier was taken off."""

    @property
    def is_idle(self) -> bool:
        """Whether this training has nothing for it to measure: known at the start, and then no step asks it."""
        return False

    @abstractmethod
    def collect(self) -> dict[str, Tensor | float]:
        """This step's values: 0-dim tensors on any device, or numbers. The step is forgotten afterwards."""

    def interpret(self, values: dict[str, float]) -> None:  # noqa: B027
        """Correct labels in place once the numbers are on the host (on CUDA: a step later, in step order)."""

    def forget_step(self) -> None:
        """Drop what was measured of a step that will not be observed: the model was just put back."""
        self.collect()

    def close(self) -> None:  # noqa: B027
        """Take off whatever was hung on the model."""
