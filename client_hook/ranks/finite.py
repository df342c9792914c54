"""Whether every rank's gradients are finite: the one collective of ours, for the guard of a sharded model only.

Under data parallelism all ranks have the same gradients when the optimizer is called, so each of them comes to the
same decision by itself. Under ``fully_shard`` a bad element is in one shard only. If that rank alone skipped its
update, the model would be half old and half new; so a flag goes round. It hangs nowhere where ``fully_shard`` itself
would not, which gathers and scatters in every step, and it has a deadline.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from client_hook.ranks.group import Ranks


class FlagLost(RuntimeError):
    """Another rank did not come to the optimizer's step, so it cannot be known whether its gradients are finite."""


class SharedFiniteness:
    """Made on all ranks at the same moment, because making a process group is itself a collective."""

    def __init__(self, ranks: Ranks) -> None:
        seconds = ranks.patience.guard_seconds
        self._seconds = seconds
        # On the CPU and of our own: it disturbs no order of the training's collectives, and ends when ours should.
        self._group: Any = dist.new_group(backend="gloo", timeout=timedelta(seconds=seconds))

    def of(self, norm: Tensor | None) -> Tensor:
        """A norm on the CPU that is finite if the one of every rank is; NaN otherwise, also where ours is fine.

        Raises:
            FlagLost: a rank is gone, or did not come in time.
        """
        is_bad = norm is not None and not math.isfinite(norm.item())
        flag = torch.tensor([1.0 if is_bad else 0.0])
        try:
            dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self._group)
        except RuntimeError as error:
            raise FlagLost(
                f"the ranks could not agree within {self._seconds:g} s whether their gradients are finite "
                f"({str(error).splitlines()[0][:200]})"
            ) from error
        return torch.tensor(math.nan if flag.item() > 0 else 0.0)
