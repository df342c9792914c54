"""Thresholds that a run sets for itself, as a table by detector and name, told in words where they cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

from trainguard.detectors.panel import build_detector, thresholds_of
from trainguard.detectors.table import DETECTORS

Overrides = dict[str, dict[str, float]]


def checked_overrides(given: object) -> Overrides:
    """``{"loss_spike": {"z": 9}}`` as plain numbers; ``ValueError`` names the field and what is known.

    >>> checked_overrides({"loss_spike": {"z": 9}})
    {'loss_spike': {'z': 9.0}}
    """
    if not isinstance(given, Mapping):
        raise ValueError(
            f"it is {type(given).__name__}; give thresholds by detector, as in {{'loss_spike': {{'z': 9}}}}"
        )
    checked: Overrides = {}
    for name, thresholds in given.items():
        if not isinstance(thresholds, Mapping):
            raise ValueError(f"{name!r} is {type(thresholds).__name__}; give its thresholds by name, as in {{'z': 9}}")
        for threshold, value in thresholds.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"{name}.{threshold} is {value!r}; give a number above 0")
        checked[str(name)] = {str(threshold): float(value) for threshold, value in thresholds.items()}
        build_detector(str(name), "normal", checked[str(name)])
    return checked


def usable_overrides(given: Mapping[str, Mapping[str, float]]) -> tuple[Overrides, list[str]]:
    """What this version can use of another version's overrides, and the names of what it cannot.

    A trainer is pinned for weeks: a threshold that is gone, or that came later, must not stop its service.

    >>> usable_overrides({"loss_spike": {"z": 9.0, "zz": 1.0}, "clairvoyance": {"years": 3.0}})
    ({'loss_spike': {'z': 9.0}}, ['loss_spike.zz', 'clairvoyance'])
    """
    usable: Overrides = {}
    unknown: list[str] = []
    for name, thresholds in given.items():
        if name not in DETECTORS:
            unknown.append(name)
            continue
        known = thresholds_of(DETECTORS[name])
        for threshold, value in thresholds.items():
            if threshold in known and isfinite(value) and value > 0:
                usable.setdefault(name, {})[threshold] = value
            else:
                unknown.append(f"{name}.{threshold}")
    return usable, unknown
