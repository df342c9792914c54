"""Causes in the size of the step: the rate, its warm-up, clipping, and what the optimizer makes of them."""

from __future__ import annotations

from trainguard.policy.diagnosis.ranges import rate_range
from trainguard.policy.diagnosis.symptoms import Symptoms, known
from trainguard.wire import Hypothesis

HEALTHY_UPDATE = 1e-3
"""Size of an update over the size of the parameter, per step, of a run that learns well (Karpathy's rule)."""
TOO_LARGE = 5.0 * HEALTHY_UPDATE
TOO_SMALL = 0.02 * HEALTHY_UPDATE
EXPLODED = 10.0
"""Times its healthy norm from where on a gradient has exploded and not only grown."""
HARDLY = 2.0
"""Times the former rate, below which a rising rate (a warm-up) explains no explosion."""
SCRAMBLES = 0.1
"""Size of an update over its parameters that leaves little of them after ten steps."""
LEARNS = 0.2 * HEALTHY_UPDATE
"""The same, from where on parameters plainly move: if nothing is learnt, the rate is not too low."""
STEADY = 1.05
LEAST_WARM_UP = 100
"""Steps; the shortest warm-up that is usual."""


def rate_was_raised(symptoms: Symptoms) -> Hypothesis | None:
    """A rate that had just gone up is the first suspect."""
    if not symptoms.is_instability or not symptoms.rate_was_raised:
        return None
    good = symptoms.number("learning_rate_good")
    former = "the former rate" if good is None else f"about {good:.2g}"
    return Hypothesis(
        cause="learning_rate_raised",
        support="strong",
        statement="The learning rate was raised, and the run did not bear it.",
        evidence=known(
            symptoms.change("learning_rate", "The applied rate"),
            symptoms.change("update_ratio", "The update/parameter ratio"),
            symptoms.change("param_norm", "The norm of the parameters"),
        ),
        next_step=(
            f"Find what set the rate at step {symptoms.incident.onset_step} (a restart without its scheduler, a warm "
            f"restart, a hand-edited group, a peak set too high) and go on at {former}."
        ),
    )


def rate_is_not_a_step(symptoms: Symptoms) -> Hypothesis | None:
    """A rate of zero, a negative one, or one that does not follow its schedule."""
    rate = symptoms.number("learning_rate_at")
    is_none = symptoms.number("nonfinite_learning_rate") is not None
    breaks = symptoms.is_instability and (is_none or (rate is not None and rate < 0))
    if symptoms.kind != "learning_rate" and not breaks:
        return None
    return Hypothesis(
        cause="learning_rate_broken",
        support="strong",
        statement="The learning rate is not what was announced, or is no usable step size.",
        evidence=known(
            symptoms.incident.summary,
            "The applied rate is no number." if is_none else symptoms.change("learning_rate", "The applied rate"),
            f"The applied rate is {rate:.3g}." if breaks and not is_none else "",
        ),
        next_step=(
            "Check that scheduler.step() runs once per optimizer step and on this optimizer, that its total number "
            "of steps is right, and that nothing else writes param_groups[...]['lr']."
        ),
    )


def fine_tuning_rate_destroys(symptoms: Symptoms) -> Hypothesis | None:
    """Fine-tuning bears a tenth to a hundredth of the rate of training from scratch."""
    rate = symptoms.set_up.highest_rate
    published = rate_range(symptoms.set_up)
    if symptoms.set_up.task != "fine-tuning" or not symptoms.is_instability or rate is None or published is None:
        return None
    if rate <= published.highest:
        return None
    return Hypothesis(
        cause="fine_tuning_rate_too_high",
        support="strong" if rate > 3 * published.highest else "some",
        statement="The rate is one for training from scratch: it destroys what the model already knew.",
        evidence=(f"The rate is {rate:.3g}; published for fine-tuning: {published.words}.",),
        next_step=(
            "Start again from the pre-trained weights with a rate 10 to 100 times lower, a warm-up over the first "
            "5 to 10 % of the steps and little weight decay."
        ),
    )


def warm_up_is_missing(symptoms: Symptoms) -> Hypothesis | None:
    """Adaptive optimizers take their largest steps first, before their second moments mean anything."""
    if not symptoms.is_instability or not symptoms.is_early or symptoms.rate_was_raised:
        return None
    if symptoms.set_up.schedulers is None and not symptoms.set_up.is_adaptive:
        return None
    no_schedule = symptoms.set_up.schedulers == ()
    growth = symptoms.late_growth
    is_first = symptoms.incident.onset_step < LEAST_WARM_UP
    # Whoever warms up has a rising rate here; a single bad step before is no example of health either.
    at_once = is_first and (growth or 1.0) <= STEADY
    # It bore the full rate for longer than a warm-up takes.
    is_used_to_it = not is_first and growth is not None and growth <= STEADY
    evidence = [f"It began at step {symptoms.incident.onset_step}, in the run's first stretch."]
    if no_schedule:
        evidence.append("No scheduler was attached, so the first steps were made at the full rate.")
    return Hypothesis(
        cause="warm_up_missing",
        support="strong" if at_once else "some" if no_schedule and not is_used_to_it else "weak",
        statement="There is no warm-up, or it is too short.",
        evidence=tuple(evidence),
        next_step="Raise the rate linearly from near 0 over the first 1 to 5 % of the steps (at least 100).",
    )


def rate_is_too_high(symptoms: Symptoms) -> Hypothesis | None:
    """The commonest cause of all. Far too high from the start, it leaves a loss that is flat."""
    if not symptoms.is_instability or symptoms.rate_was_raised:
        return _steps_are_too_large(symptoms)
    evidence = []
    ratio = symptoms.number("update_ratio_before")
    if ratio is not None and ratio > TOO_LARGE:
        evidence.append(
            f"Before the onset an update was already {ratio:.2g} of its parameter; {HEALTHY_UPDATE} is usual."
        )
    rate, published = symptoms.set_up.highest_rate, rate_range(symptoms.set_up)
    if rate is not None and published is not None and rate > published.highest:
        evidence.append(f"The rate is {rate:.3g}; published: {published.words}.")
    return Hypothesis(
        cause="learning_rate_too_high",
        support="some" if evidence else "weak",
        statement="The learning rate is too high for this stage of the training.",
        evidence=tuple(evidence),
        next_step="Roll back to before the onset and go on at a half to a tenth of the rate.",
    )


def _steps_are_too_large(symptoms: Symptoms) -> Hypothesis | None:
    is_flat = symptoms.kind == "plateau" and symptoms.number("early_loss") is not None
    ratio = symptoms.number("update_ratio_at")
    if not (is_flat or symptoms.kind == "update_ratio") or ratio is None or ratio <= TOO_LARGE:
        return None
    momentum = max((group.momentum or 0.0 for group in symptoms.set_up.groups), default=0.0)
    return Hypothesis(
        cause="learning_rate_too_high",
        support="strong" if ratio >= SCRAMBLES else "some",
        statement="The learning rate, or the momentum, is too high: each step undoes what the one before has learnt.",
        evidence=known(
            f"An update is {ratio:.2g} of its parameter; {HEALTHY_UPDATE} is usual.",
            symptoms.change("update_ratio", "The update/parameter ratio"),
            f"Momentum is {momentum:g}; 0.9 is usual." if momentum > 0.9 else "",
        ),
        next_step="Lower the rate to a tenth (momentum to 0.9 first, where it is higher) and start from before the "
        "onset; units that died under such steps do not come back.",
    )


def clipping_is_missing(symptoms: Symptoms) -> Hypothesis | None:
    """One large gradient moved the weights far. Where it grew tenfold and the rate hardly, the rate did not do it."""
    gradient, update = symptoms.growth("grad_norm"), symptoms.growth("update_ratio")
    if not symptoms.is_instability or gradient is None or gradient < 3:
        return None
    moved = update is not None and update >= 2
    unclipped = symptoms.set_up.is_clipped is False
    by_the_rate = (
        symptoms.number("learning_rate_good") is not None or (symptoms.growth("learning_rate") or 1.0) >= HARDLY
    )
    exploded = gradient >= EXPLODED and not by_the_rate
    return Hypothesis(
        cause="clipping_missing",
        support="strong" if exploded else "some" if moved or unclipped else "weak",
        statement="The gradient grew and nothing held it back: clipping is missing or set too high.",
        evidence=known(
            symptoms.change("grad_norm", "The gradient norm"),
            symptoms.change("update_ratio", "The update/parameter ratio") if moved else "",
            "No clipping of the norm was seen in the run's first fifty steps." if unclipped else "",
        ),
        next_step=(
            f"Clip the global norm before the step, at about {2 * (symptoms.number('grad_norm_before') or 0.5):.2g} "
            "(twice its healthy value), with hook.clip_grad_norm_."
        ),
    )


def second_moment_lags(symptoms: Symptoms) -> Hypothesis | None:
    """With beta2 of 0.999 the second moment needs a thousand steps to notice that gradients have grown."""
    beta2 = max((group.beta2 for group in symptoms.set_up.groups if group.beta2 is not None), default=None)
    gradient = symptoms.growth("grad_norm")
    if not symptoms.is_instability or beta2 is None or beta2 < 0.99 or gradient is None or gradient < 2:
        return None
    return Hypothesis(
        cause="second_moment_lags",
        support="some",
        statement="The optimizer's second moment was out of date, so the larger gradients made oversized updates.",
        evidence=known(
            f"beta2 is {beta2:g}: the second moment averages over about {1 / (1 - min(beta2, 0.9999)):.0f} steps.",
            symptoms.change("grad_norm", "The gradient norm"),
        ),
        next_step="Lower beta2 to 0.95 to 0.98 (usual for large language models), or clip by update size.",
    )


def rate_is_too_low(symptoms: Symptoms) -> Hypothesis | None:
    """A loss that is flat from the start, with updates too small to matter."""
    if symptoms.kind not in ("plateau", "update_ratio"):
        return None
    from_start = symptoms.number("early_loss") is not None
    evidence = []
    ratio = _update_ratio(symptoms)
    is_small = ratio is not None and 0 < ratio < TOO_SMALL
    shrunk, rate_change = symptoms.growth("update_ratio"), symptoms.growth("learning_rate")
    if shrunk is not None and rate_change is not None and shrunk < 0.1 * rate_change:
        return None  # the steps became small under the same rate
    if symptoms.kind == "plateau" and ratio is not None and ratio >= LEARNS:
        return None
    if is_small:
        evidence.append(f"An update is {ratio:.2g} of its parameter; {HEALTHY_UPDATE} is usual.")
    rate, published = symptoms.set_up.highest_rate, rate_range(symptoms.set_up)
    if rate is not None and published is not None and rate < published.lowest:
        evidence.append(f"The rate is {rate:.3g}; published: {published.words}.")
    if not is_small and (symptoms.kind == "update_ratio" or not (evidence or from_start)):
        return None
    return Hypothesis(
        cause="learning_rate_too_low",
        support=("strong" if is_small else "some") if evidence else "weak",
        statement="The learning rate is too low, or its warm-up too long, for anything to be learnt.",
        evidence=tuple(evidence),
        next_step="Run a range test: raise the rate exponentially over a few hundred steps, take a third of where the "
        "loss turns up; and check that the warm-up ends.",
    )


def warm_up_is_too_long(symptoms: Symptoms) -> Hypothesis | None:
    """Flat from the start while the rate is still on its way up."""
    growth = symptoms.late_growth
    earlier, now = symptoms.number("learning_rate_earlier"), symptoms.number("learning_rate_at")
    if symptoms.kind != "plateau" or symptoms.number("early_loss") is None or growth is None or growth <= 1.02:
        return None
    ratio = _update_ratio(symptoms)
    return Hypothesis(
        cause="warm_up_too_long",
        support="strong" if ratio is not None and ratio < TOO_SMALL else "some",
        statement="The warm-up is still going on: the rate is yet too small for anything to be learnt.",
        evidence=known(
            symptoms.change("learning_rate", "The applied rate"),
            f"The applied rate is still rising: from {earlier:.3g} to {now:.3g} of late." if earlier and now else "",
        ),
        next_step="Compare the warm-up's length with the run's (1 to 5 % is usual), and count it in optimizer steps, "
        "not in micro-batches or samples.",
    )


def steps_overshoot(symptoms: Symptoms) -> Hypothesis | None:
    """The loss swings: steps jump across the valley, or momentum carries them there."""
    if symptoms.kind != "oscillation":
        return None
    momentum = max((group.momentum for group in symptoms.set_up.groups if group.momentum is not None), default=None)
    strong_momentum = momentum is not None and momentum > 0.9
    return Hypothesis(
        cause="steps_overshoot",
        support="some",
        statement="Each step jumps across the minimum: the rate, or the momentum, is too high.",
        evidence=known(
            symptoms.incident.summary,
            f"Momentum is {momentum:g}; 0.9 is usual." if strong_momentum else "",
        ),
        next_step="Lower the momentum to 0.9 first." if strong_momentum else "Halve the rate; then try less momentum.",
    )


def noise_floor_is_reached(symptoms: Symptoms) -> Hypothesis | None:
    """A run that has learnt and stands still is at the floor that its rate allows."""
    if symptoms.kind != "plateau":
        return None
    return Hypothesis(
        cause="noise_floor",
        support="weak" if symptoms.number("early_loss") is not None else "some",
        statement="The loss has reached the floor that this rate allows.",
        evidence=known(symptoms.incident.summary),
        next_step=(
            "Anneal the rate to a tenth, then look at regularisation and the optimizer. Do not raise the rate: that "
            "is how runs on a plateau diverge."
        ),
    )


def _update_ratio(symptoms: Symptoms) -> float | None:
    ratio = symptoms.number("update_ratio_at")
    return symptoms.number("update_ratio_before") if ratio is None else ratio
