"""The order of things can be read in one list."""

from __future__ import annotations

from monitor_server.pipeline import STAGES
from trainguard import policy


def test_the_way_of_an_envelope() -> None:
    names = [getattr(stage, "__name__", "") for stage in STAGES]
    assert names == [
        "record", "detect", "roll_up", "assess", "follow", "correlate", "diagnose", "suppress", "decide", "return_rate",
        "conclude", "issue", "announce", "broadcast", "settle",
    ]  # fmt: skip


def test_the_judgement_is_the_one_that_the_trainer_makes_too() -> None:
    names = ["follow", "correlate", "diagnose", "suppress", "decide", "return_rate"]
    assert [stage.__name__ for stage in policy.STAGES] == names
