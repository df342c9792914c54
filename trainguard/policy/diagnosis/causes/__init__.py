"""What may be behind an incident: one function per cause, one file per region of a training.

A cause takes `Symptoms` and answers with a `Hypothesis`, or with ``None`` where nothing speaks for it. It says
*strong* only where the run's own numbers show it. To add one, write the function and add its line here; equals are
told in the order of this table, so the commonest come first.
"""

from __future__ import annotations

from collections.abc import Callable

from trainguard.policy.diagnosis.causes import data, generalisation, machine, precision, step_size, structure
from trainguard.policy.diagnosis.symptoms import Symptoms
from trainguard.wire import Hypothesis

Cause = Callable[[Symptoms], Hypothesis | None]

CAUSES: tuple[Cause, ...] = (
    step_size.rate_was_raised,
    step_size.rate_is_not_a_step,
    precision.float16_overflowed,
    precision.loss_scale_underflows,
    structure.updates_are_lost,
    structure.parameters_do_not_move,
    structure.gradients_are_zero,
    structure.units_are_dead,
    structure.gradients_vanish,
    step_size.fine_tuning_rate_destroys,
    step_size.warm_up_is_missing,
    step_size.rate_is_too_high,
    step_size.clipping_is_missing,
    step_size.second_moment_lags,
    data.batch_is_bad,
    data.targets_changed,
    precision.operation_left_its_domain,
    step_size.warm_up_is_too_long,
    step_size.rate_is_too_low,
    step_size.steps_overshoot,
    data.nothing_to_learn,
    step_size.noise_floor_is_reached,
    generalisation.model_overfits,
    generalisation.weight_decay_is_too_strong,
    structure.second_moments_are_stuck,
    machine.ranks_disagree,
    machine.data_is_late,
    machine.machine_is_slow,
    machine.process_is_gone,
)
"""Every cause."""
