"""What the numbers of several ranks come to: pure functions over one step's values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

RANKS_NAMED = 8
"""Ranks that have signals of their own, besides the one that lies furthest from the others, whichever it is: an
observation holds 256 signals, most of which belong to layers."""

OF_REPLICAS = ("loss", "param_norm", "step_seconds")
"""What is told of each rank by itself: replicas have the same parameters, or have parted."""
OF_SHARDS = ("loss", "step_seconds")

Values = Mapping[str, float]


def by_rank(own: Values, of_ranks: Mapping[int, Values], kinds: Sequence[str]) -> dict[str, float]:
    """Rank 0's values with those of each rank beside them, and ``loss`` as the mean over the ranks that were heard.

    >>> by_rank({"loss": 1.0, "grad_norm": 2.0}, {0: {"loss": 1.0}, 1: {"loss": 3.0}}, ["loss"])
    {'loss': 2.0, 'grad_norm': 2.0, 'loss/rank0': 1.0, 'loss/rank1': 3.0}
    """
    combined = dict(own)
    for kind in kinds:
        values = {rank: values[kind] for rank, values in sorted(of_ranks.items()) if kind in values}
        if kind == "loss" and kind in own:
            combined[kind] = sum(values.values()) / len(values)
        if len(values) > 1:
            combined.update({f"{kind}/rank{rank}": values[rank] for rank in _named(values)})
    return combined


def _named(values: Mapping[int, float]) -> list[int]:
    """The first ranks, and the one that is not finite or lies furthest from the median."""
    ranks = list(values)
    if len(ranks) <= RANKS_NAMED:
        return ranks
    finite = sorted(value for value in values.values() if math.isfinite(value))
    middle = finite[len(finite) // 2] if finite else 0.0
    furthest = max(ranks, key=lambda rank: abs(values[rank] - middle) if math.isfinite(values[rank]) else math.inf)
    return [*ranks[:RANKS_NAMED], *([furthest] if furthest not in ranks[:RANKS_NAMED] else [])]


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
