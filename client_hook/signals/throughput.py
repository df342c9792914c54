"""How much the training gets through in a second."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from client_hook.signals.base import Signal


class Throughput(Signal):
    """Samples and tokens per second, where ``observe(loss, samples=…, tokens=…)`` says how many a step had.

    Over the time from the previous ``observe`` to this one, so it comes after `StepSeconds`; of this process:
    on several ranks each sees its own share.
    """

    names: ClassVar[tuple[str, ...]] = ("samples_per_second", "tokens_per_second")
    measures_updates_only = True
    concerned: ClassVar[frozenset[str] | None] = frozenset({"samples", "tokens"})

    def collect(self) -> dict[str, Tensor | float]:
        """Nothing: it is made of numbers that others give."""
        return {}

    def interpret(self, values: dict[str, float]) -> None:
        """Divide what was given by the time that it took."""
        seconds = values.get("step_seconds")
        if not seconds:
            return
        for given, name in (("samples", "samples_per_second"), ("tokens", "tokens_per_second")):
            if given in values and name not in values:
                values[name] = values[given] / seconds
