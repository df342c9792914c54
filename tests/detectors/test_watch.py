from __future__ import annotations

from math import inf, nan

import pytest

from tests.detectors.streams import changed, healthy, observation, of_losses, scaled
from trainguard.detectors.watch import Watch
from trainguard.wire import Observation


def fed(stream: list[Observation]) -> Watch:
    watch = Watch()
    for point in stream:
        watch.update(point)
    return watch


def test_no_value_that_is_not_finite_reaches_a_baseline() -> None:
    stream = healthy(200)
    for index in range(100, 160):
        stream = changed(stream, index, loss=nan, grad_norm=inf)
    watch = fed(stream)

    assert watch.loss.accepted + watch.loss.held == 140
    assert watch.gradient.accepted + watch.gradient.held == 140


def test_the_streak_counts_the_newest_points_that_are_not_finite() -> None:
    assert fed(of_losses([2.0, nan, 2.0, nan, inf])).nonfinite_streak == 2
    assert fed([observation(0, loss=1.0, grad_norm=1.0, nonfinite_grads=3.0)]).nonfinite_streak == 1


def test_a_step_that_the_scaler_skipped_is_no_trouble() -> None:
    skipped = observation(1, loss=2.0, grad_norm=inf, nonfinite_grads=9.0, update_skipped=1.0, loss_scale=512.0)
    watch = fed([observation(0, loss=2.0, grad_norm=1.0, loss_scale=1024.0), skipped])

    assert watch.gradient_is_finite
    assert watch.nonfinite_streak == 0


def test_a_skip_without_a_falling_scale_is_trouble() -> None:
    skipped = observation(1, loss=2.0, grad_norm=inf, update_skipped=1.0, loss_scale=1024.0)

    assert not fed([observation(0, loss=2.0, grad_norm=1.0, loss_scale=1024.0), skipped]).gradient_is_finite


def test_the_norm_after_clipping_stands_in_for_the_one_before() -> None:
    assert fed([observation(0, grad_norm_clipped=1.0)]).gradient_value == 1.0
    assert fed([observation(0, grad_norm=7.0, grad_norm_clipped=1.0)]).gradient_value == 7.0


def test_a_new_attempt_and_a_gap_open_a_stretch_of_grace() -> None:
    stream = of_losses([2.0] * 20)
    resumed = fed([*stream, observation(10, 1, loss=2.0)])
    jumped = fed([*stream, observation(90, loss=2.0)])

    assert resumed.resumed
    assert resumed.grace == 8
    assert not jumped.resumed
    assert jumped.grace == 4


def test_the_onset_is_where_the_loss_left_its_band() -> None:
    assert fed(scaled(healthy(), 300, 306, loss=3.0)[:306]).onset() == 300


def test_a_gradient_that_ran_ahead_of_the_loss_is_the_onset() -> None:
    stream = scaled(scaled(healthy(), 300, 306, loss=3.0), 297, 306, grad_norm=40.0)[:306]

    assert fed(stream).onset() == 297
    assert fed(stream).onset(lead=False) == 300


def test_a_damaged_state_is_refused_by_the_fields_name() -> None:
    state = fed(healthy(50)).state_dict()

    for field in ("history", "levels", "step", "loss", "loss_seen"):
        with pytest.raises(ValueError, match=field):
            Watch().load_state_dict({**state, field: "rubbish"})
    with pytest.raises(ValueError, match="not a point of four"):
        Watch().load_state_dict({**state, "history": [[1, 2.0]]})
