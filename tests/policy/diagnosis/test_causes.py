"""The standard knowledge: which cause is named first for which symptoms."""

from __future__ import annotations

import pytest

from tests.policy.diagnosis.patients import incident, run
from trainguard.policy.diagnosis import SetUp, Symptoms, hypotheses
from trainguard.policy.diagnosis.causes import CAUSES
from trainguard.wire import KINDS, Hypothesis, IncidentReport, RunDescription

STEADY = {"learning_rate_before": 1e-3, "learning_rate_at": 1e-3}


def said(report: IncidentReport, description: RunDescription | None = None) -> dict[str, Hypothesis]:
    return {one.cause: one for one in hypotheses(Symptoms(report, SetUp.of(description)))}


def first(report: IncidentReport, description: RunDescription | None = None) -> Hypothesis:
    return next(iter(said(report, description).values()))


def test_a_rate_that_was_raised_is_named_first_with_its_numbers() -> None:
    told = first(incident("divergence", learning_rate_before=3e-3, learning_rate_at=9.6e-2))
    assert (told.cause, told.support) == ("learning_rate_raised", "strong")
    assert "0.003 before and 0.096 from step 1200 on (32 ×)" in told.evidence[0]
    assert "step 1200" in told.next_step
    assert "at the former rate" in told.next_step


def test_parameters_that_swelled_under_a_rising_rate_are_no_want_of_clipping() -> None:
    report = incident(
        "divergence", learning_rate_before=6e-2, learning_rate_at=9.4e-2, learning_rate_good=5e-3, grad_norm_before=0.1,
        grad_norm_at=2.0, param_norm_before=19.0, param_norm_at=39.0,
    )  # fmt: skip
    told = first(report)
    assert told.cause == "learning_rate_raised"
    assert "The norm of the parameters was 19 before" in " ".join(told.evidence)
    assert "at about 0.005" in told.next_step
    assert said(report)["clipping_missing"].support == "weak"


@pytest.mark.parametrize(
    ("report", "description", "cause"),
    [
        (incident("loss_spike", **STEADY), run(), "bad_batch"),
        (incident("divergence", onset=40, seen=60, **STEADY), run(schedulers=[]), "warm_up_missing"),
        (incident("divergence", update_ratio_before=2e-2, **STEADY), run(), "learning_rate_too_high"),
        (incident("divergence", **STEADY), run(), "data_changed"),
        (incident("divergence", **STEADY), run(lr=1e-2, task="fine-tuning"), "fine_tuning_rate_too_high"),
        (incident("divergence", **STEADY), run(weight_decay=0.5, lr=1e-5, task="fine-tuning"),
         "weight_decay_too_strong"),
        (incident("grad_explosion", grad_norm_before=1.0, grad_norm_at=9.0, update_ratio_before=1e-3,
                  update_ratio_at=5e-3, **STEADY), run("SGD"), "clipping_missing"),
        (incident("loss_spike", grad_norm_before=1.0, grad_norm_at=5.0, **STEADY), run(betas=[0.9, 0.999]),
         "second_moment_lags"),
        (incident("non_finite", **STEADY), run(precision="float16"), "float16_overflow"),
        (incident("non_finite", grad_norm_before=1.0, grad_norm_at=1.1), run(), "operation_out_of_domain"),
        (incident("loss_scale_collapse"), run(scaler="GradScaler"), "float16_underflow"),
        (incident("plateau", early_loss=4.2, update_ratio_at=1e-7), run(lr=1e-8), "learning_rate_too_low"),
        (incident("update_ratio", update_ratio_at=1e-7), run(), "learning_rate_too_low"),
        (incident("plateau", early_loss=4.2), run(trainable=0), "parameters_do_not_move"),
        (incident("plateau", early_loss=4.2, update_ratio_at=0.0), run(), "parameters_do_not_move"),
        (incident("plateau", early_loss=4.2, grad_norm_at=0.0), run(), "gradients_zero"),
        (incident("plateau", early_loss=4.2, learning_rate_before=1e-7, learning_rate_at=2e-7), run(lr=1e-3),
         "warm_up_too_long"),
        (incident("plateau"), run(), "noise_floor"),
        (incident("plateau", update_ratio_before=1e-3, update_ratio_at=1e-4), run(betas=[0.9, 0.999]),
         "second_moment_stuck"),
        (incident("oscillation"), run("SGD", momentum=0.99), "steps_overshoot"),
        (incident("grad_vanishing"), run(), "vanishing_gradient"),
        (incident("dead_layers"), run(), "dead_units"),
        (incident("no_update"), run(), "parameters_do_not_move"),
        (incident("overfitting"), run(), "overfitting"),
        (incident("rank_disagreement"), run(), "rank_disagrees"),
        (incident("slow_step", step_seconds_at=1.0, data_wait_seconds_at=0.8), run(), "data_starvation"),
        (incident("slow_step"), run(), "machine_slow"),
        (incident("silent"), run(), "trainer_silent"),
        (incident("learning_rate"), run(), "learning_rate_broken"),
    ],
)  # fmt: skip
def test_standard_knowledge(report: IncidentReport, description: RunDescription, cause: str) -> None:
    told = said(report, description)
    assert cause in told
    gravest = next(iter(told.values())).support
    assert told[cause].support == gravest


def test_a_plateau_is_never_answered_with_a_higher_rate() -> None:
    assert "Do not raise the rate" in said(incident("plateau"), run())["noise_floor"].next_step
    assert "learning_rate_too_low" not in said(incident("plateau"), run())


def test_momentum_is_lowered_before_the_rate() -> None:
    assert "momentum to 0.9" in first(incident("oscillation"), run("SGD", momentum=0.99)).next_step
    assert "Halve the rate" in first(incident("oscillation"), run("SGD", momentum=0.9)).next_step


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gets_a_ranked_diagnosis_even_where_nothing_is_known(kind: str) -> None:
    report = incident("divergence").model_copy(update={"kind": kind, "evidence": {"loss_before": float("nan")}})
    ranks = [["strong", "some", "weak"].index(one.support) for one in said(report).values()]
    assert ranks
    assert ranks == sorted(ranks)


def test_what_nothing_explains_is_said_to_be_unexplained() -> None:
    report = incident("divergence").model_copy(update={"kind": "update_ratio"})
    told = first(report)
    assert told.cause == "unexplained"
    assert told.evidence == ("Something was seen.",)


def test_every_cause_says_its_own_name_and_a_next_step() -> None:
    assert len({cause.__name__ for cause in CAUSES}) == len(CAUSES)
    assert all(cause.__doc__ for cause in CAUSES)


def test_where_it_sits_is_told_with_the_likeliest_cause() -> None:
    places = {
        "grad_norm/transformer.h.3_before": 0.4, "grad_norm/transformer.h.3_at": 55.0,
        "grad_norm/head_before": 1.0, "grad_norm/head_at": 2.0,
        "effective_learning_rate/1_before": 1e-4, "effective_learning_rate/1_at": 1e-2,
        "loss/rank2_before": 2.0, "loss/rank2_at": 1e300,
    }  # fmt: skip
    told = list(said(incident("divergence", **STEADY, **places), run()).values())
    assert told[0].evidence[-3:] == (
        "The gradient grew most in: transformer.h.3 (138 ×), head (2 ×).",
        "The applied rate rose in parameter group: 1 (100 ×).",
        "The loss rose on rank: 2 (not finite).",
    )
    assert not any("grew most" in sentence for one in told[1:] for sentence in one.evidence)


@pytest.mark.parametrize(
    ("report", "description", "cause", "support"),
    [
        # A run of 400 good steps at the full rate wants no warm-up: what came at once came from the data.
        (incident("non_finite", onset=400, seen=400, **STEADY), run(schedulers=[]), "bad_batch", "some"),
        (incident("divergence", onset=400, seen=405, **STEADY), run(schedulers=[]), "data_changed", "some"),
        (incident("non_finite", onset=300, seen=300, grad_norm_before=0.3, grad_norm_at=0.3, learning_rate_before=1e-2,
                  nonfinite_learning_rate=1.0), run(schedulers=[]), "learning_rate_broken", "strong"),
        (incident("divergence", learning_rate_before=1e-5, learning_rate_at=-1e-4), run(), "learning_rate_broken",
         "strong"),
        # The gradient arrives and is 0: the optimizer does own the parameters.
        (incident("no_update", update_ratio_at=0.0, grad_norm_at=0.0), run(), "gradients_zero", "strong"),
        (incident("no_update", update_ratio_at=0.0, grad_norm_at=0.0), run(precision="float16"), "float16_underflow",
         "strong"),
        (incident("no_update", layers=3.0, update_ratio_at=1e-3), run(), "updates_lost_in_rounding", "some"),
        (incident("plateau", early_loss=1.4, update_ratio_at=2e-3, grad_norm_at=0.2, **STEADY), run(),
         "data_teaches_nothing", "some"),
        (incident("plateau", early_loss=1.4, update_ratio_at=2e-7, learning_rate_earlier=2e-8, learning_rate_at=4e-8),
         run(), "warm_up_too_long", "strong"),
        (incident("plateau", early_loss=1.4, update_ratio_at=0.3, **STEADY), run(), "learning_rate_too_high", "strong"),
        (incident("update_ratio", update_ratio_before=5e-2, update_ratio_at=0.5, **STEADY), run(),
         "learning_rate_too_high", "strong"),
        (incident("update_ratio", update_ratio_before=2e-2, update_ratio_at=3e-2, **STEADY), run("SGD", momentum=0.99),
         "learning_rate_too_high", "some"),
        (incident("update_ratio", update_ratio_before=4e-3, update_ratio_at=1e-5, grad_norm_before=0.6,
                  grad_norm_at=0.1, **STEADY), run("SGD"), "vanishing_gradient", "some"),
    ],
)  # fmt: skip
def test_the_first_hypothesis_is_the_one_that_real_trainings_had(
    report: IncidentReport, description: RunDescription, cause: str, support: str
) -> None:
    told = first(report, description)
    assert (told.cause, told.support) == (cause, support)


def test_no_cause_is_told_that_the_numbers_speak_against() -> None:
    frozen = incident("no_update", update_ratio_before=2e-3, update_ratio_at=0.0)
    assert "second_moment_stuck" not in said(frozen, run(betas=[0.9, 0.999]))
    faded = incident("update_ratio", update_ratio_before=4e-3, update_ratio_at=1e-5, **STEADY)
    assert "learning_rate_too_low" not in said(faded, run())
    moving = incident("plateau", early_loss=1.4, update_ratio_at=2e-3, **STEADY)
    assert "learning_rate_too_low" not in said(moving, run())
    forgotten = incident("divergence", onset=450, seen=700, learning_rate_earlier=1e-3, learning_rate_at=1e-3)
    assert said(forgotten, run(schedulers=[]))["warm_up_missing"].support == "weak"
    # A warm-up that has ended, and a rate that only falls, are not too long.
    for earlier in (1e-3, 2e-3):
        ended = incident("plateau", early_loss=1.4, learning_rate_earlier=earlier, learning_rate_at=1e-3)
        assert "warm_up_too_long" not in said(ended, run())


def test_a_run_that_fails_in_its_first_steps_still_wants_its_warm_up() -> None:
    told = first(incident("divergence", onset=40, seen=60, **STEADY), run(schedulers=[]))
    assert (told.cause, told.support) == ("warm_up_missing", "strong")
