"""What is said of a set-up, once, when the hook is attached."""

from __future__ import annotations

import logging

import pytest

from tests.client_hook.little_training import LittleTraining


def test_a_careless_set_up_is_told_in_the_log_with_the_remedy(caplog: pytest.LogCaptureFixture) -> None:
    training = LittleTraining(rate=0.5)
    with caplog.at_level(logging.INFO, "trainguard"):
        training.attach(scheduler=None).close()
    told = [(record.levelname, record.message) for record in caplog.records if record.message.startswith("set-up")]
    assert [level for level, _ in told] == ["WARNING", "INFO"]
    assert told[0][1].startswith("set-up, learning_rate: The learning rate 0.5 is higher than published: 1e-06 to 0.01")
    assert told[0][1].endswith("Check the exponent; if it is meant, begin with a short range test.")
    assert told[1][1].startswith("set-up, scheduler: No scheduler was attached")


def test_a_usual_set_up_is_told_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "trainguard"):
        LittleTraining().attach().close()
    assert not [record for record in caplog.records if record.message.startswith("set-up")]
