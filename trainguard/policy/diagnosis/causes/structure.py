"""Causes in the model and in what the optimizer was given."""

from __future__ import annotations

from trainguard.policy.diagnosis.symptoms import Symptoms, known
from trainguard.wire import Hypothesis

FADED = 0.3
"""Times its healthy norm, below which a gradient explains steps that have become small."""


def parameters_do_not_move(symptoms: Symptoms) -> Hypothesis | None:
    """The optimizer does not own them, or they were frozen by mistake."""
    frozen = symptoms.set_up.trainable_parameters == 0
    ratio = symptoms.number("update_ratio_at")
    still = ratio == 0.0
    if symptoms.kind != "no_update" and not (symptoms.kind == "plateau" and (frozen or still)):
        return None
    # Frozen parameters have no gradient at all; one of exactly 0 has come to them, or some do move.
    is_elsewhere = not frozen and (symptoms.number("grad_norm_at") == 0 or _is_of_some_layers(symptoms))
    return Hypothesis(
        cause="parameters_do_not_move",
        support="some" if is_elsewhere else "strong",
        statement="The parameters do not change: the optimizer does not own them, or they are frozen.",
        evidence=known(
            symptoms.incident.summary if symptoms.kind == "no_update" else "",
            "No parameter of the model is trainable." if frozen else "",
            "The update/parameter ratio is 0." if still else "",
        ),
        next_step=(
            "Make the optimizer after the model was moved, wrapped or replaced; check requires_grad, that "
            "loss.backward() reaches the parameters (no detach, no no_grad), and that optimizer.step() runs."
        ),
    )


def updates_are_lost(symptoms: Symptoms) -> Hypothesis | None:
    """Some layers have a gradient and stand still while others move: what they are changed by is rounded to nothing."""
    if symptoms.kind != "no_update" or not _is_of_some_layers(symptoms):
        return None
    return Hypothesis(
        cause="updates_lost_in_rounding",
        support="some",
        statement="The updates of these layers are too small for the precision of their weights, or their group's rate "
        "is 0.",
        evidence=known(symptoms.incident.summary),
        next_step=(
            "Look at these layers' gradients: where they are millions of times smaller than the others', add residual "
            "connections or normalisation, or correct the initialisation. Keep weights in float32; check the rate of "
            "their parameter group, and that nothing writes them back."
        ),
    )


def _is_of_some_layers(symptoms: Symptoms) -> bool:
    return symptoms.number("layers") is not None and (symptoms.number("update_ratio_at") or 0.0) > 0


def gradients_are_zero(symptoms: Symptoms) -> Hypothesis | None:
    """Flat from the start because nothing flows back."""
    norm = symptoms.number("grad_norm_at")
    if symptoms.kind not in ("plateau", "no_update", "grad_vanishing") or norm is None or norm > 1e-9:
        return None
    return Hypothesis(
        cause="gradients_zero",
        support="strong",
        statement="The gradients are zero: nothing of the loss reaches the parameters.",
        evidence=(f"The gradient norm is {norm:.2g}.",),
        next_step=(
            "Check that the loss depends on the outputs (no argmax, detach or no_grad between), that its mask is not "
            "empty, that units are not all saturated or dead, and that zero_grad() does not run after backward()."
        ),
    )


def units_are_dead(symptoms: Symptoms) -> Hypothesis | None:
    """Units that are zero for every input get no gradient and never come back."""
    if symptoms.kind != "dead_layers":
        return None
    return Hypothesis(
        cause="dead_units",
        support="strong",
        statement="Layers have died: their units are zero for every input.",
        evidence=known(symptoms.incident.summary),
        next_step="Lower the rate and start from before the onset; use GELU or leaky ReLU, and a smaller bias at the "
        "initialisation of the named layers.",
    )


def gradients_vanish(symptoms: Symptoms) -> Hypothesis | None:
    """Depth, initialisation or saturation lets nothing through."""
    faded = symptoms.growth("grad_norm")
    if symptoms.kind != "grad_vanishing" and not (
        symptoms.kind == "update_ratio" and faded is not None and faded < FADED
    ):
        return None
    return Hypothesis(
        cause="vanishing_gradient",
        support="some",
        statement="The gradient vanishes on its way through the model.",
        evidence=known(symptoms.incident.summary, symptoms.change("grad_norm", "The gradient norm")),
        next_step="Compare the gradient norms layer by layer, from the output back: where they fall off, add residual "
        "connections or normalisation, or correct the initialisation.",
    )


def second_moments_are_stuck(symptoms: Symptoms) -> Hypothesis | None:
    """After a burst of large gradients Adam's second moment keeps the steps small for long."""
    beta2 = max((group.beta2 for group in symptoms.set_up.groups if group.beta2 is not None), default=None)
    shrunk = symptoms.growth("update_ratio")
    if (
        symptoms.kind not in ("plateau", "update_ratio", "no_update")
        or beta2 is None
        or shrunk is None
        or not 0 < shrunk <= 0.5
    ):
        return None
    return Hypothesis(
        cause="second_moment_stuck",
        support="some",
        statement="The optimizer's second moment is still large from former gradients and holds the steps back.",
        evidence=known(
            symptoms.change("update_ratio", "The update/parameter ratio"),
            f"beta2 is {beta2:g}: it takes about {1 / (1 - min(beta2, 0.9999)):.0f} steps to forget.",
        ),
        next_step="Reset the optimizer's moments with a short re-warm-up, or lower beta2.",
    )
