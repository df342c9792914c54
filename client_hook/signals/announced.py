"""Whether the rates in an optimizer are those that its schedulers have set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

SAME = 1 + 1e-6
"""Rates this much apart are the same rate. No more: a schedule that is overwritten on every step begins on every step
anew from what it finds, and then announces nearly the same."""


class AnnouncedRates:
    """Compares each group's rate with the one that the attached schedulers last set for it.

    What a scheduler announces is what it left in the groups after its last step (``get_last_lr()``), so it holds for
    every kind of schedule, wherever in the loop it is stepped, after a restart and after a rollback. Of several
    schedulers of one optimizer the last to be stepped has the word, and so it is enough if one of them agrees.

    One that was not stepped since the hook was attached announces nothing: perhaps nobody means to step it. Nor does
    one with a ``step`` of its own making, which may keep no book of what it sets. Rates that are tensors on an
    accelerator are not compared, since looking at them would wait for it.
    """

    def __init__(self, schedulers: Sequence[object]) -> None:
        self._waiting: list[tuple[Any, object]] = [(one, _steps_of(one)) for one in schedulers if _keeps_book(one)]
        self._stepped: dict[int, list[Any]] = {}

    def difference(self, optimizer: Optimizer, rates: Sequence[Tensor | float]) -> tuple[float, float] | None:
        """Announced and found rate of the first group that has another one; ``None`` where all are as announced.

        ``rates`` are those of the groups, in their order, without our multiplier.
        """
        if self._waiting:
            self._look_for_steps()
        schedulers = self._stepped.get(id(optimizer))
        if schedulers is None or len(rates) != len(optimizer.param_groups):
            return None
        books = [scheduler.get_last_lr() for scheduler in schedulers]
        for index, rate in enumerate(rates):
            if isinstance(rate, Tensor):
                continue
            announced = [number for book in books if (number := _number(book, index)) is not None]
            if announced and rate not in announced:
                nearest = min(announced, key=lambda number: abs(number - rate))
                if not (rate <= SAME * nearest and nearest <= SAME * rate):
                    return nearest, rate
        return None

    def _look_for_steps(self) -> None:
        for scheduler, steps in list(self._waiting):
            if _steps_of(scheduler) != steps:
                self._waiting.remove((scheduler, steps))
                self._stepped.setdefault(id(scheduler.optimizer), []).append(scheduler)


def _keeps_book(scheduler: object) -> bool:
    """Whether it is one of torch, or steps as one of torch does, all the way down."""
    if not isinstance(scheduler, LRScheduler) or not hasattr(scheduler, "_last_lr"):
        return False
    methods = (type(scheduler).step, type(scheduler)._update_lr, type(scheduler).get_last_lr)
    if any(method.__module__ != LRScheduler.__module__ for method in methods):
        return False
    return all(_keeps_book(part) for part in getattr(scheduler, "_schedulers", ()))


def _steps_of(scheduler: Any) -> tuple[object, ...]:
    """Changes with every step; a chained scheduler keeps no count of its own, its parts do."""
    parts = tuple(_steps_of(part) for part in getattr(scheduler, "_schedulers", ()))
    return getattr(scheduler, "last_epoch", None), *parts


def _number(book: Sequence[Any], index: int) -> float | None:
    if index >= len(book):  # a group that was added since
        return None
    rate = book[index]
    return float(rate) if not isinstance(rate, Tensor) or rate.device.type == "cpu" else None
