"""From a rung to orders: which checkpoint, how strong a cut, how much data to pass over."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trainguard.policy.cause import cause_of
from trainguard.policy.incident import Incident
from trainguard.policy.playbook import SMALLEST_FACTOR, Rung
from trainguard.wire import (
    CheckpointReport,
    Halt,
    LowerLearningRate,
    Order,
    ResetMoments,
    RewarmUp,
    Rollback,
    SetLossScale,
    SkipDataWindow,
    SkipUpdate,
    TightenClipping,
)


@dataclass(frozen=True)
class Remedy:
    """Orders and the words that explain them; no orders means that nothing safe could be done."""

    orders: tuple[Order, ...]
    sentence: str


def choose_checkpoint(
    checkpoints: Iterable[CheckpointReport], onset_step: int, *, below_step: int | None = None
) -> CheckpointReport | None:
    """The newest confirmed checkpoint from before the onset; with ``below_step``, one older than that.

    A checkpoint's step is the *next* step to make, so one of step ``onset_step`` holds no bad update yet.
    Candidates and suspects are never chosen. Where nothing older than ``below_step`` is left, the oldest
    that is left is taken again: deeper is a wish, not a condition.
    """
    good = sorted(
        (one for one in checkpoints if one.state == "confirmed" and one.step <= onset_step),
        key=lambda one: (one.step, one.attempt, one.saved_at),
    )
    if not good:
        return None
    if below_step is None:
        return good[-1]
    older = [one for one in good if one.step < below_step]
    return older[-1] if older else good[0]


_MEASURES = (
    # A detector that knows a rate that was good says so; what was just before the onset may have been too high already.
    ("learning_rate_good", "learning_rate", "the rate"),
    ("learning_rate_before", "learning_rate", "the rate"),
    ("update_ratio_before", "update_ratio", "the update/parameter ratio"),
)


def choose_factor(rung: Rung, evidence: Mapping[str, float], *, has_passed: bool = False) -> tuple[float, str]:
    """How strongly to cut the rate, and why.

    The run's own numbers say it best: a rate that is 20 times its healthy value is cut to a twentieth in one
    move, not in five halvings. Without evidence the rung's own factor holds. Never below 1/32.
    Where the cause ``has_passed``, the size of the updates was that of the bad batch and says nothing of the rate.

    >>> rung = Rung(name="first", learning_rate_factor=0.5)
    >>> choose_factor(rung, {"learning_rate_before": 1e-3, "learning_rate_at": 2e-2})[0]
    0.05
    >>> choose_factor(rung, {})
    (0.5, '')
    """
    if not rung.factor_from_evidence or has_passed:
        return rung.learning_rate_factor, ""
    best, why = rung.learning_rate_factor, ""
    for healthy, signal, words in _MEASURES:
        before, at = evidence.get(healthy), evidence.get(f"{signal}_at")
        if before is None or at is None or not (math.isfinite(before) and math.isfinite(at)):
            continue
        if before <= 0 or at <= 0 or at / before < 2.0:
            continue
        factor = max(before / at, SMALLEST_FACTOR)
        if factor < best:
            best, why = factor, f"{words} was {at / before:.3g} times its healthy value"
            break
    return float(f"{best:.4g}"), why


def compose(rung: Rung, incident: Incident, checkpoints: Iterable[CheckpointReport], rung_index: int) -> Remedy:
    """The orders of ``rung`` for ``incident``, or a remedy without orders and the reason why."""
    if rung.halt:
        return Remedy((Halt(),), "halt the training with a report")
    orders: list[Order] = []
    words: list[str] = []
    if rung.rollback != "none":
        chosen = _chosen(rung, incident, tuple(checkpoints), rung_index)
        if chosen is None:
            return Remedy((), f"no confirmed checkpoint from before the onset at step {incident.onset_step} is known")
        orders.append(Rollback(checkpoint_id=chosen.checkpoint_id))
        words.append(f"roll back to the confirmed checkpoint of step {chosen.step}")
    limit = choose_clip_norm(rung, incident.evidence)
    evidence = incident.evidence
    if limit is not None:
        # Updates as large as the gradients are held by that limit; to cut the rate for them would count them twice.
        evidence = {name: value for name, value in evidence.items() if not name.startswith("update_ratio_")}
    factor, why = choose_factor(rung, evidence, has_passed=cause_of(incident) == "passing")
    if factor < 1:
        orders.append(LowerLearningRate(factor=factor))
        words.append(f"multiply the learning rate by {factor:.4g}" + (f" ({why})" if why else ""))
    if rung.reset_moments:
        orders.append(ResetMoments())
        words.append("reset the optimizer's moments")
    if limit is not None:
        orders.append(TightenClipping(max_norm=limit))
        words.append(f"hold gradient norms at or below {limit:.4g}")
    if rung.loss_scale != "keep":
        scale = None if rung.loss_scale == "initial" else rung.loss_scale
        orders.append(SetLossScale(scale=scale))
        words.append("set the loss scale to " + ("its initial value" if scale is None else f"{scale:.4g}"))
    if rung.skip_batches:
        # The trouble may lie in the data: pass over as much again as it has already cost.
        cost = incident.failed_step - incident.onset_step
        batches = min(max(rung.skip_batches, cost), 4 * rung.skip_batches)
        orders.append(SkipDataWindow(batches=batches))
        words.append(f"pass over the next {batches} batches")
    if rung.skip_updates:
        orders.append(SkipUpdate(updates=rung.skip_updates))
        words.append(f"leave out the next {rung.skip_updates} updates")
    if rung.rewarm_steps:
        orders.append(RewarmUp(steps=rung.rewarm_steps))
        words.append(f"re-warm over {rung.rewarm_steps} steps")
    if not orders:
        return Remedy((), f"the run's numbers do not say what {rung.name!r} needs to know")
    return Remedy(tuple(orders), _listed(words))


def choose_clip_norm(rung: Rung, evidence: Mapping[str, float]) -> float | None:
    """The limit for gradient norms that ``rung`` asks for: the tighter of its two, where both are known.

    >>> choose_clip_norm(Rung(name="clip", clip_times_healthy=2.0), {"grad_norm_before": 0.4, "grad_norm_at": 9.0})
    0.8
    """
    limits = [rung.clip_norm] if rung.clip_norm is not None else []
    healthy, now = evidence.get("grad_norm_before"), evidence.get("grad_norm_at", 0.0)
    if rung.clip_times_healthy is not None and healthy is not None and math.isfinite(healthy) and healthy > 0:
        limit = rung.clip_times_healthy * healthy
        # A limit that the trouble itself did not reach would hold back nothing but the healthy steps of later.
        if now > limit:
            limits.append(float(f"{limit:.4g}"))
    return min(limits, default=None)


def _chosen(
    rung: Rung, incident: Incident, checkpoints: tuple[CheckpointReport, ...], rung_index: int
) -> CheckpointReport | None:
    onset = incident.onset_step
    below = incident.restored_step
    if rung.rollback == "deeper" and below is None and rung_index:
        nearest = choose_checkpoint(checkpoints, onset)
        below = nearest.step if nearest else None
    below = below if rung.rollback == "deeper" else None
    if rung.steps_before_onset:
        at_most = max(0, onset - rung.steps_before_onset) + 1
        below = at_most if below is None else min(below, at_most)
    return choose_checkpoint(checkpoints, onset, below_step=below)


def _listed(words: list[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    return ", ".join(words[:-1]) + " and " + words[-1]
