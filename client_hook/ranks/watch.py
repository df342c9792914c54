"""Looks at the ranks side by side: which one is the first that is not finite, and which one has parted."""

from __future__ import annotations

import math
from collections.abc import Mapping

from trainguard.wire import Finding

PARTED_BY = 1e-4
"""Relative distance of two parameter norms that ought to be the same bits; other hardware rounds otherwise."""


class RankWatch:
    """One finding per stretch of trouble.

    >>> watch = RankWatch(is_sharded=False)
    >>> [said] = watch.look(0, 7, {0: {"loss": 1.0}, 1: {"loss": float("nan")}})
    >>> said.message
    'At step 7, the loss of rank 1 is not finite; it is on the other ranks.'
    >>> watch.look(0, 8, {0: {"loss": 1.0}, 1: {"loss": float("nan")}})
    []
    """

    def __init__(self, *, is_sharded: bool) -> None:
        self._is_sharded = is_sharded
        self._was_bad = False
        self._was_parted = False

    def look(self, attempt: int, step: int, of_ranks: Mapping[int, Mapping[str, float]]) -> list[Finding]:
        """What is to be said of this step."""
        return [*self._first_not_finite(attempt, step, of_ranks), *self._parted(attempt, step, of_ranks)]

    def _first_not_finite(self, attempt: int, step: int, of_ranks: Mapping[int, Mapping[str, float]]) -> list[Finding]:
        losses = {rank: values["loss"] for rank, values in of_ranks.items() if "loss" in values}
        bad = sorted(rank for rank, loss in losses.items() if not math.isfinite(loss))
        was_bad, self._was_bad = self._was_bad, bool(bad)
        if not bad or was_bad:
            return []
        others = "it is on the other ranks" if len(bad) < len(losses) else "nor is it on any other rank"
        named = f"rank {bad[0]}" if len(bad) in (1, len(losses)) else f"ranks {', '.join(map(str, bad[:8]))}"
        return [
            Finding(
                kind="non_finite",
                severity="info",
                detector="first_nonfinite_rank",
                attempt=attempt,
                step=step,
                onset_step=step,
                signal=f"loss/rank{bad[0]}",
                value=losses[bad[0]],
                message=f"At step {step}, the loss of {named} is not finite; {others}.",
            )
        ]

    def _parted(self, attempt: int, step: int, of_ranks: Mapping[int, Mapping[str, float]]) -> list[Finding]:
        """Under data parallelism the parameters are the same on all ranks, and so is what is sampled of them."""
        norms = {rank: values["param_norm"] for rank, values in of_ranks.items() if "param_norm" in values}
        if self._is_sharded or 0 not in norms or not all(map(math.isfinite, norms.values())):
            return []
        worst = max(norms, key=lambda rank: abs(norms[rank] - norms[0]))
        distance = abs(norms[worst] - norms[0]) / max(norms[0], 1e-30)
        was_parted, self._was_parted = self._was_parted, distance > PARTED_BY
        if not self._was_parted or was_parted:
            return []
        return [
            Finding(
                kind="rank_disagreement",
                severity="warning",
                detector="parameters_of_ranks",
                attempt=attempt,
                step=step,
                onset_step=step,
                signal="param_norm",
                value=norms[worst],
                evidence={"param_norm/rank0": norms[0], f"param_norm/rank{worst}": norms[worst]},
                message=(
                    f"At step {step}, the parameters of rank {worst} are not those of rank 0: their norms are "
                    f"{norms[worst]:.6g} and {norms[0]:.6g}."
                ),
            )
        ]
