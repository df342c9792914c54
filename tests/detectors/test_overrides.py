"""A run's own thresholds: checked where they are given, forgiven where they are only passed on."""

from __future__ import annotations

import pytest

from trainguard.detectors import checked_overrides


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([1], "it is list; give thresholds by detector"),
        ({"loss_spike": 9}, "'loss_spike' is int; give its thresholds by name"),
        ({"loss_spike": {"z": "9"}}, "loss_spike.z is '9'; give a number above 0"),
        ({"loss_spike": {"z": True}}, "loss_spike.z is True; give a number above 0"),
        ({"loss_spike": {"zz": 9}}, "names 'zz'; known are z, rise"),
        ({"loss_spikes": {"z": 9}}, "names 'loss_spikes'; known are non_finite, loss_spike"),
        ({"loss_spike": {"z": -1}}, "loss_spike.z is -1.0; it must be a finite number above 0"),
        ({"loss_spike": {"z": float("nan")}}, "it must be a finite number above 0"),
    ],
    ids=["list", "number", "text", "bool", "threshold", "detector", "negative", "nan"],
)
def test_what_cannot_be_meant_is_named(given: object, words: str) -> None:
    with pytest.raises(ValueError) as raised:
        checked_overrides(given)
    assert words in str(raised.value)
