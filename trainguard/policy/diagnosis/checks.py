"""Checks of a set-up against published ranges and standard knowledge: one function each, and the table."""

from __future__ import annotations

from collections.abc import Callable

from trainguard.policy.diagnosis.advice import Advice
from trainguard.policy.diagnosis.ranges import rate_range
from trainguard.policy.diagnosis.set_up import SetUp, Task
from trainguard.wire import RunDescription

Check = Callable[[SetUp, RunDescription], Advice | None]

LARGE_MODEL = 100_000_000
LONG_RUN = 1_000
ADAM_DECAY = 0.3
SGD_DECAY = 1e-2
LOWEST_CLIPPING, HIGHEST_CLIPPING = 0.05, 20.0


def rate_is_a_number_above_zero(set_up: SetUp, description: RunDescription) -> Advice | None:
    """A rate of 0 trains nothing, a negative one climbs."""
    bad = [group.rate for group in set_up.groups if group.rate is not None and group.rate <= 0]
    if not bad or (set_up.schedulers and min(bad) == 0):
        return None
    return Advice(
        setting="learning_rate",
        weight="warning",
        statement=f"A parameter group has a learning rate of {bad[0]:g}.",
        remedy="Give every group a rate above 0; take out of the optimizer what is not to be trained.",
    )


def rate_is_in_its_published_range(set_up: SetUp, description: RunDescription) -> Advice | None:
    """Far outside is nearly always a slip of the exponent."""
    rate, published = set_up.highest_rate, rate_range(set_up)
    if rate is None or published is None or rate <= 0 or published.lowest <= rate <= published.highest:
        return None
    how = "higher" if rate > published.highest else "lower"
    far = rate > 3 * published.highest or rate < published.lowest / 10
    return Advice(
        setting="learning_rate",
        weight="warning" if far else "note",
        statement=f"The learning rate {rate:g} is {how} than published: {published.words}.",
        remedy="Check the exponent; if it is meant, begin with a short range test.",
    )


def schedule_is_attached(set_up: SetUp, description: RunDescription) -> Advice | None:
    """Adam's first steps want a warm-up, and a constant rate leaves loss on the table."""
    if set_up.schedulers != () or (description.total_steps or LONG_RUN) < LONG_RUN:
        return None
    warm_up = "no warm-up for Adam's first steps and no annealing at the end" if set_up.is_adaptive else "no annealing"
    return Advice(
        setting="scheduler",
        weight="note",
        statement=f"No scheduler was attached: {warm_up}.",
        remedy="Attach it with scheduler=…, so that a rollback restores it too; or warm up over 1 to 5 % of the steps.",
    )


def second_moment_is_quick_enough(set_up: SetUp, description: RunDescription) -> Advice | None:
    """Large models spike with beta2 = 0.999."""
    slow = [group.beta2 for group in set_up.groups if group.family == "adam" and (group.beta2 or 0.0) > 0.99]
    if not slow or (set_up.parameters or 0) < LARGE_MODEL or set_up.task in ("fine-tuning", "cnn"):
        return None
    return Advice(
        setting="betas",
        weight="note",
        statement=f"beta2 is {slow[0]:g} for {set_up.parameters:,} parameters: its second moment lags behind.",
        remedy="0.95 is usual in pre-training (GPT-3, Llama, OLMo 2) and makes loss spikes rarer.",
    )


def momentum_is_usual(set_up: SetUp, description: RunDescription) -> Advice | None:
    """Momentum near 1 overshoots."""
    high = [momentum for group in set_up.groups if (momentum := group.momentum or 0.0) >= 0.98]
    if not high:
        return None
    return Advice(
        setting="momentum",
        weight="warning",
        statement=f"Momentum is {high[0]:g}: the step that counts is {1 / max(1 - high[0], 1e-6):.0f} times the rate.",
        remedy="Use 0.9, or lower the rate accordingly.",
    )


def decay_is_decoupled(set_up: SetUp, description: RunDescription) -> Advice | None:
    """In Adam, L2 goes through the second moment and hardly works."""
    if not any(group.optimizer == "Adam" and group.weight_decay for group in set_up.groups):
        return None
    return Advice(
        setting="weight_decay",
        weight="warning",
        statement="Adam divides its weight decay by the second moment, so it hardly regularises.",
        remedy="Use AdamW (Loshchilov and Hutter 2019) with the same value times ten or more.",
    )


def decay_is_in_its_usual_range(set_up: SetUp, description: RunDescription) -> Advice | None:
    """Too strong a decay outweighs the gradient."""
    for group in set_up.groups:
        most = SGD_DECAY if group.family == "sgd" else ADAM_DECAY
        if group.family and group.weight_decay is not None and group.weight_decay > most:
            return Advice(
                setting="weight_decay",
                weight="warning",
                statement=f"Weight decay is {group.weight_decay:g} in {group.optimizer}; up to {most:g} is usual.",
                remedy="0.1 with AdamW, 1e-4 to 5e-4 with SGD, 0.01 in fine-tuning.",
            )
    return None


def half_precision_is_scaled(set_up: SetUp, description: RunDescription) -> Advice | None:
    """float16 gradients vanish below 6e-8."""
    if "float16" not in set_up.precisions:
        return None
    missing = (
        "and no GradScaler was attached: gradients below 6e-8 become 0"
        if set_up.scaler is None
        else ("themselves: a GradScaler refuses their gradients, and updates below a thousandth are lost")
    )
    return Advice(
        setting="precision",
        weight="warning",
        statement=f"Parameters are float16 {missing}.",
        remedy="Keep parameters in float32 under autocast with scaler=…, or use bfloat16.",
    )


def epsilon_is_seen_in_half_precision(set_up: SetUp, description: RunDescription) -> Advice | None:
    """Adam's epsilon of 1e-8 is 0 in float16, and a parameter with a tiny second moment then divides by it."""
    epsilons = [group.epsilon for group in set_up.groups if group.family == "adam" and group.epsilon is not None]
    if "float16" not in set_up.precisions or not epsilons or min(epsilons) >= 6e-8:
        return None
    return Advice(
        setting="eps",
        weight="warning",
        statement=f"eps is {min(epsilons):g}, which is 0 in float16: the first update may divide by nothing.",
        remedy="Use eps=1e-4 with float16 parameters, or keep them in float32 under autocast.",
    )


def fine_tuning_warms_up(set_up: SetUp, description: RunDescription) -> Advice | None:
    """A constant rate with Adam in fine-tuning begins with its largest steps on weights that know something."""
    if set_up.task != "fine-tuning" or set_up.schedulers != () or not set_up.is_adaptive:
        return None
    if (description.total_steps or LONG_RUN) >= LONG_RUN:
        return None  # `schedule_is_attached` says it
    return Advice(
        setting="scheduler",
        weight="note",
        statement="Fine-tuning begins at the full rate: Adam's first steps are its largest.",
        remedy="Warm up over the first 5 to 10 % of the steps.",
    )


def updates_survive_rounding(set_up: SetUp, description: RunDescription) -> Advice | None:
    """bfloat16 has eight bits: an update of less than 0.4 % of its weight is rounded away."""
    if set_up.precisions != ("bfloat16",) or (set_up.trainable_parameters or 0) == 0:
        return None
    return Advice(
        setting="precision",
        weight="note",
        statement="All parameters are bfloat16: updates below about 0.4 % of a weight are rounded away.",
        remedy="Keep a float32 copy of the weights (autocast does), or round stochastically.",
    )


def something_is_trained(set_up: SetUp, description: RunDescription) -> Advice | None:
    """A model that is frozen as a whole."""
    if set_up.trainable_parameters != 0 or not set_up.parameters:
        return None
    return Advice(
        setting="parameters",
        weight="warning",
        statement=f"None of the {set_up.parameters:,} parameters is trainable.",
        remedy="Set requires_grad on what is to be trained before making the optimizer.",
    )


def what_is_trainable_is_trained(set_up: SetUp, description: RunDescription) -> Advice | None:
    """A head that was replaced after the optimizer was made keeps its random weights."""
    names = set_up.unowned_parameters
    if not names:
        return None
    more = ", …" if len(names) > 3 else ""
    return Advice(
        setting="parameters",
        weight="warning",
        statement=f"No optimizer owns these trainable parameters: {', '.join(names[:3])}{more}; they will not change.",
        remedy="Make the optimizer after the model is complete, or set requires_grad=False on what is to stay.",
    )


def there_is_a_way_back(set_up: SetUp, description: RunDescription) -> Advice | None:
    """Without checkpoints nothing can be rolled back."""
    if description.mode != "act" or description.checkpoint_every is not None:
        return None
    return Advice(
        setting="checkpoints",
        weight="warning",
        statement="The run may act, but takes no checkpoints: it cannot be rolled back.",
        remedy='Attach with checkpoints="folder/" and checkpoint_every=….',
    )


def gradients_are_clipped(set_up: SetUp, description: RunDescription) -> Advice | None:
    """Nearly every published recipe of a transformer clips, at 1.0."""
    wants = set_up.task in ("pre-training", "fine-tuning") or (set_up.parameters or 0) >= LARGE_MODEL
    if set_up.is_clipped is not False or not set_up.is_adaptive or not wants or set_up.task == "cnn":
        return None
    return Advice(
        setting="clipping",
        weight="note",
        statement="No clipping of the gradients' norm was seen in the first fifty steps.",
        remedy="hook.clip_grad_norm_(1.0) before the step: GPT-3, Llama 3 and OLMo 2 clip at 1.0.",
    )


def clipping_limit_is_usual(set_up: SetUp, description: RunDescription) -> Advice | None:
    """Far above every norm it does nothing; far below, the rate is all that is left of the gradient's size."""
    limit = set_up.clip_norm
    if limit is None or LOWEST_CLIPPING <= limit <= HIGHEST_CLIPPING:
        return None
    return Advice(
        setting="clipping",
        weight="note",
        statement=f"Clipping is at a norm of {limit:g}; {LOWEST_CLIPPING:g} to {HIGHEST_CLIPPING:g} is usual.",
        remedy="Clip at about twice the healthy norm: 1.0 for most transformers, 5 to 10 for recurrent networks.",
    )


def schedule_is_stepped_once_per_update(set_up: SetUp, description: RunDescription) -> Advice | None:
    """Stepped per micro-batch, a schedule that was planned in updates is over after a fraction of the run."""
    steps = set_up.schedule_steps
    if steps is None or steps < 1.5:
        return None
    per_part = set_up.accumulation is not None and abs(steps - set_up.accumulation) < 0.1
    return Advice(
        setting="scheduler",
        weight="warning" if per_part else "note",
        statement=f"The schedule is stepped {steps:g} times per update{', once per micro-batch' if per_part else ''}.",
        remedy="Call scheduler.step() once per optimizer step, or plan the schedule in micro-batches.",
    )


CHECKS: tuple[Check, ...] = (
    rate_is_a_number_above_zero,
    rate_is_in_its_published_range,
    schedule_is_attached,
    fine_tuning_warms_up,
    second_moment_is_quick_enough,
    momentum_is_usual,
    decay_is_decoupled,
    decay_is_in_its_usual_range,
    half_precision_is_scaled,
    epsilon_is_seen_in_half_precision,
    updates_survive_rounding,
    gradients_are_clipped,
    clipping_limit_is_usual,
    schedule_is_stepped_once_per_update,
    something_is_trained,
    what_is_trainable_is_trained,
    there_is_a_way_back,
)
"""Every check, in the order in which equals are told."""


def advise(description: RunDescription, *, task: Task | None = None) -> tuple[Advice, ...]:
    """What there is to say about a run's set-up, warnings first.

    ``task`` chooses the published ranges; without it the run's tag ``task`` does, else all recipes together.

    >>> from uuid import UUID
    >>> config = {"optimizers": [{"name": "AdamW", "groups": [{"lr": 0.5}]}], "schedulers": ["LambdaLR"]}
    >>> run = RunDescription(run_id=UUID(int=1), run="x", started_at=0.0, config=config)
    >>> [(advice.setting, advice.weight) for advice in advise(run)]
    [('learning_rate', 'warning')]
    """
    set_up = SetUp.of(description, task=task)
    said = [advice for check in CHECKS if (advice := check(set_up, description)) is not None]
    return tuple(sorted(said, key=lambda advice: advice.weight != "warning"))
