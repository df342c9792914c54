"""A playbook for people: in sentences, and as a YAML file to begin one's own from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trainguard.policy import Ladder, Playbook, Rung

TREATMENTS = {
    "treat": "a remedy at once",
    "watch": "it may heal for {heal} steps{stuck}, then a remedy",
    "advise": "told to a person, never treated",
}


def tell_playbook(playbook: Playbook) -> Iterator[str]:
    """One line at a time, without an end of line."""
    budget, back = playbook.budget, playbook.rate_return
    yield f"Playbook {playbook.name!r}"
    yield f"  probation: {playbook.probation_steps} steps beyond the place where it failed"
    yield (
        f"  budget: {budget.rollbacks} rollbacks, {budget.without_progress} remedies without progress; forgiven after "
        f"{budget.forgive_after_steps} healthy steps"
    )
    if back.is_wanted:
        yield (
            f"  after a passing cause the rate comes back: × {back.step_factor:g} every {back.every_steps} steps; "
            f"then a limit for gradient norms that was set, raised {back.limit_raises} times, is lifted"
        )
    else:
        yield "  a lowered rate stays lowered, whatever the cause was"
    yield f"  a proposal can be approved for {playbook.proposal_valid_seconds:g} s"
    for kind, ladder in playbook.ladders.items():
        yield ""
        yield from _tell_ladder(kind, ladder)


def _tell_ladder(kind: str, ladder: Ladder) -> Iterator[str]:
    limits = f"; at most {ladder.at_most} times" if ladder.at_most else ""
    limits += f"; again only after {ladder.again_after_steps} steps" if ladder.again_after_steps else ""
    stuck = f", or {ladder.nonfinite_in_a_row} in a row that are not finite" if ladder.nonfinite_in_a_row else ""
    yield f"{kind}: {TREATMENTS[ladder.treatment].format(heal=ladder.heal_within_steps, stuck=stuck)}{limits}"
    if ladder.treatment == "advise":
        if ladder.advice:
            yield f"  {ladder.advice}"
        return
    for cause, rung in ladder.by_cause.items():
        yield f"  where the diagnosis is {cause}: {', '.join(_parts(rung))}"
    if ladder.by_cause and ladder.heals_once_within:
        yield f"    at once where the same healed by itself within the last {ladder.heals_once_within} steps"
    for number, rung in enumerate(ladder.rungs, 1):
        yield f"  {number}. {rung.name}: {', '.join(_parts(rung))}"


def _parts(rung: Rung) -> Iterator[str]:
    if rung.halt:
        yield "stop the training with a report"
        return
    if rung.rollback != "none":
        where = "to before the onset" if rung.rollback == "before_onset" else "deeper than the last time"
        margin = f" by {rung.steps_before_onset} steps or more" if rung.steps_before_onset else ""
        yield f"roll back {where}{margin}"
    if rung.learning_rate_factor < 1 or rung.factor_from_evidence:
        yield f"rate × {rung.learning_rate_factor:g}" + (
            " or what the evidence says" if rung.factor_from_evidence else ""
        )
    if rung.reset_moments:
        yield "reset the moments"
    if rung.clip_norm is not None:
        yield f"gradient norm at most {rung.clip_norm:g}"
    if rung.clip_times_healthy is not None:
        yield f"gradient norm at most {rung.clip_times_healthy:g} times its healthy value"
    if rung.loss_scale != "keep":
        yield "initial loss scale" if rung.loss_scale == "initial" else f"loss scale {rung.loss_scale:g}"
    if rung.skip_batches:
        yield f"pass over {rung.skip_batches} batches or more"
    if rung.skip_updates:
        yield f"leave out {rung.skip_updates} updates"
    if rung.rewarm_steps:
        yield f"re-warm over {rung.rewarm_steps} steps"


def as_yaml(playbook: Playbook) -> str:
    """The whole of it, with every value that can be set, as `parse_playbook` reads it.

    Raises:
        PlaybookUnreadable: PyYAML is missing.
    """
    from trainguard.playbooks.yaml_lines import write_yaml

    return write_yaml(_plain(playbook), playbook.name)


def _plain(playbook: Playbook) -> dict[str, Any]:
    plain = playbook.model_dump(mode="json")
    for ladder in plain["ladders"].values():
        for name in ("at_most", "advice", "nonfinite_in_a_row", "by_cause", "heals_once_within"):
            if not ladder[name]:
                del ladder[name]
        for rung in [*ladder["rungs"], *ladder.get("by_cause", {}).values()]:
            for name in ("clip_norm", "clip_times_healthy"):
                if rung[name] is None:
                    del rung[name]
    return plain
