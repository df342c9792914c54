"""Causes in what the model is pulled towards."""

from __future__ import annotations

from trainguard.policy.diagnosis.symptoms import Symptoms, known
from trainguard.wire import Hypothesis

USUAL_DECAY = 0.1


def model_overfits(symptoms: Symptoms) -> Hypothesis | None:
    """Validation rises while training falls."""
    if symptoms.kind != "overfitting":
        return None
    return Hypothesis(
        cause="overfitting",
        support="strong",
        statement="The model learns its training data by heart.",
        evidence=known(symptoms.incident.summary),
        next_step=(
            f"Keep the checkpoint from before step {symptoms.incident.onset_step}. To go further: more data or "
            "augmentation, more weight decay or dropout, a smaller model; for fine-tuning, fewer epochs."
        ),
    )


def weight_decay_is_too_strong(symptoms: Symptoms) -> Hypothesis | None:
    """Decay that outweighs the gradient pulls the weights to zero, and a fine-tuned model away from what it knew."""
    decay = max((group.weight_decay for group in symptoms.set_up.groups if group.weight_decay is not None), default=0.0)
    if symptoms.kind not in ("divergence", "plateau") or decay <= USUAL_DECAY:
        return None
    return Hypothesis(
        cause="weight_decay_too_strong",
        support="some" if decay > 3 * USUAL_DECAY or symptoms.set_up.task == "fine-tuning" else "weak",
        statement="Weight decay is stronger than the gradient.",
        evidence=(
            f"Weight decay is {decay:g}; {USUAL_DECAY:g} is usual with AdamW, 1e-4 with SGD, 0.01 in fine-tuning.",
        ),
        next_step=f"Lower it to {USUAL_DECAY:g} or less, and leave norms, biases and embeddings out of it.",
    )
