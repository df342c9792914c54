"""Causes in the arithmetic."""

from __future__ import annotations

from trainguard.policy.diagnosis.symptoms import Symptoms, known
from trainguard.wire import Hypothesis


def float16_overflowed(symptoms: Symptoms) -> Hypothesis | None:
    """float16 ends at 65,504."""
    if symptoms.kind not in ("non_finite", "loss_scale_collapse") or not symptoms.set_up.is_half_precision:
        return None
    pure = "float16" in symptoms.set_up.precisions
    return Hypothesis(
        cause="float16_overflow",
        support="strong" if pure and symptoms.set_up.scaler is None else "some",
        statement="A value left the range of float16, which ends at 65,504.",
        evidence=known(
            "The parameters themselves are float16." if pure else "",
            "No loss scaling was attached."
            if symptoms.set_up.scaler is None
            else f"{symptoms.set_up.scaler} is at work.",
        ),
        next_step=(
            "Use bfloat16 where the device has it; else keep float32 parameters under autocast with a GradScaler, and "
            "compute softmax, norms and the loss in float32."
        ),
    )


def loss_scale_underflows(symptoms: Symptoms) -> Hypothesis | None:
    """Gradients below 6e-8 are zero in float16."""
    if symptoms.kind not in ("loss_scale_collapse", "grad_vanishing", "plateau", "no_update"):
        return None
    collapsed = symptoms.kind == "loss_scale_collapse"
    if not collapsed and not symptoms.set_up.is_half_precision:
        return None
    is_gone = symptoms.number("grad_norm_at") == 0 and "float16" in symptoms.set_up.precisions
    return Hypothesis(
        cause="float16_underflow",
        support="strong"
        if collapsed or (is_gone and symptoms.set_up.scaler is None)
        else "some"
        if symptoms.set_up.scaler is None
        else "weak",
        statement="Gradients are too small for float16 and become zero.",
        evidence=known(
            symptoms.change("loss_scale", "The loss scale"),
            "The parameters themselves are float16, and the gradient norm is 0." if is_gone else "",
            "No loss scaling was attached." if symptoms.set_up.scaler is None else "",
        ),
        next_step="Use bfloat16, or a GradScaler whose scale stays above about 128; look for the layer whose gradient "
        "overflows first, since one such layer takes the whole scale down.",
    )


def operation_left_its_domain(symptoms: Symptoms) -> Hypothesis | None:
    """The log or root of something that is not positive, or a division by 0."""
    if symptoms.kind != "non_finite":
        return None
    calm = symptoms.growth("grad_norm")
    return Hypothesis(
        cause="operation_out_of_domain",
        support="some" if calm is not None and calm < 3 else "weak",
        statement="An operation left its domain: log(0), the gradient of sqrt(0), 0/0, an empty mean, or all masked.",
        evidence=known("The gradient norm was calm until then." if calm is not None and calm < 3 else ""),
        next_step=(
            "Repeat the step under torch.autograd.set_detect_anomaly(True), or attach with trace_modules=True: both "
            "name the place. Then add an epsilon there or clamp its input."
        ),
    )
