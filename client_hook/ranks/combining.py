"""What the numbers of several ranks come to: pure functions over one step's values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

RANKS_NAMED = 16
"""Ranks whose loss is a signal of its own; of the others the mean takes account, and a finding names a bad one."""

Values = Mapping[str, float]


def with_losses(own: Values, of_ranks: Mapping[int, Values]) -> dict[str, float]:
    """Rank 0's values with ``loss`` as the mean over the ranks that were heard, and ``loss/rank0``, ``loss/rank1``, ….

    >>> with_losses({"loss": 1.0, "grad_norm": 2.0}, {0: {"loss": 1.0}, 1: {"loss": 3.0}})
    {'loss': 2.0, 'grad_norm': 2.0, 'loss/rank0': 1.0, 'loss/rank1': 3.0}
    """
    combined = dict(own)
    losses = {rank: values["loss"] for rank, values in sorted(of_ranks.items()) if "loss" in values}
    if losses and "loss" in own:
        combined["loss"] = sum(losses.values()) / len(losses)
        combined.update({f"loss/rank{rank}": loss for rank, loss in losses.items() if rank < RANKS_NAMED})
    return combined


def of_shares(of_ranks: Sequence[Values]) -> dict[str, float]:
    """The signals of a sharded model from each rank's share of them; exact where the shares are.

    Norms are roots of sums of squares, counts are sums, a ratio is taken anew from its two norms, a flag is set
    where one rank has set it.

    >>> whole = of_shares([{"param_norm": 3.0, "update_norm": 0.3}, {"param_norm": 4.0, "update_norm": 0.4}])
    >>> whole["param_norm"], whole["update_norm"]
    (5.0, 0.5)
    """
    combined: dict[str, float] = {}
    for name in dict.fromkeys(name for values in of_ranks for name in values):
        shares = [values[name] for values in of_ranks if name in values]
        kind = name.partition("/")[0]
        if kind in ("grad_norm", "grad_norm_clipped", "param_norm", "update_norm"):
            combined[name] = _root_of_squares(shares)
        elif kind in ("nonfinite_grads", "nonfinite_params"):
            combined[name] = sum(shares)
        elif kind == "update_skipped":
            combined[name] = max(shares)
        elif kind == "adam_rms":
            combined[name] = _root_of_squares(shares) / math.sqrt(len(shares))
        elif kind == "zero_grads":
            combined[name] = sum(shares) / len(shares)
        elif kind == "update_ratio":
            combined[name] = _ratio(name, of_ranks)
    return combined


def _ratio(name: str, of_ranks: Sequence[Values]) -> float:
    _, _, layer = name.partition("/")
    whole_name = f"param_norm/{layer}" if layer else "param_norm"
    pairs = [(values[name], values[whole_name]) for values in of_ranks if name in values and whole_name in values]
    whole = _root_of_squares([whole for _, whole in pairs])
    change = _root_of_squares([ratio * whole for ratio, whole in pairs])
    return change / whole if whole else 0.0


def _root_of_squares(shares: Sequence[float]) -> float:
    # `math.hypot` says infinity where one share is infinite and another is not a number: so do we.
    return math.hypot(*shares)
