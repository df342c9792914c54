"""Causes in what the model is shown."""

from __future__ import annotations

from trainguard.policy.diagnosis.causes.step_size import LEARNS, TOO_LARGE
from trainguard.policy.diagnosis.symptoms import Symptoms, known
from trainguard.wire import Hypothesis


def batch_is_bad(symptoms: Symptoms) -> Hypothesis | None:
    """A jump without a change of the step size comes from the batch."""
    if symptoms.kind not in ("loss_spike", "grad_explosion", "non_finite") or symptoms.rate_was_raised:
        return None
    steady = symptoms.growth("learning_rate")
    return Hypothesis(
        cause="bad_batch",
        support="some" if steady is not None or symptoms.kind == "loss_spike" else "weak",
        statement=f"There is something wrong with the data of {symptoms.steps}.",
        evidence=known(
            "The applied rate was the same before and after." if steady is not None else "",
            symptoms.change("grad_norm", "The gradient norm"),
        ),
        next_step=(
            f"Print the batches of {symptoms.steps}: empty or very long samples, NaN, labels out of range, duplicates. "
            "Then pass over them, or repeat the step from an older checkpoint: what repeats is the data."
        ),
    )


def targets_changed(symptoms: Symptoms) -> Hypothesis | None:
    """A level that moves at once and stays, at the same rate: another kind of data, or labels that slipped."""
    if symptoms.kind != "divergence" or symptoms.rate_was_raised:
        return None
    steady = symptoms.growth("learning_rate")
    return Hypothesis(
        cause="data_changed",
        support="some" if steady is not None else "weak",
        statement="The data changed: another shard or stage, a broken shuffle, or inputs and labels out of step.",
        evidence=known("The applied rate was the same before and after." if steady is not None else ""),
        next_step=(
            f"See which files and which shard the batches from step {symptoms.incident.onset_step} on came from; "
            "evaluate an older checkpoint on them: if it does badly too, it is the data."
        ),
    )


def nothing_to_learn(symptoms: Symptoms) -> Hypothesis | None:
    """The loss of a model that only guesses."""
    early = symptoms.number("early_loss")
    if symptoms.kind != "plateau" or early is None:
        return None
    ratio = symptoms.number("update_ratio_at")
    moves = ratio is not None and LEARNS <= ratio <= TOO_LARGE
    return Hypothesis(
        cause="data_teaches_nothing",
        support="some" if moves else "weak",
        statement="Inputs and labels do not belong together, or every batch is the same.",
        evidence=known(
            f"The loss has hardly left its early level of {early:.4g}.",
            f"The parameters do move: an update is {ratio:.2g} of them." if moves else "",
        ),
        next_step=(
            "Train on one fixed batch: a healthy loop drives its loss to 0. Then compare two batches of the loader, "
            "and read ten samples beside their labels."
        ),
    )
