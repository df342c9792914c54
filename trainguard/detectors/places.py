"""Where a trouble sits: the layers, groups and ranks that left their own usual size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from pydantic import JsonValue

from trainguard.detectors.snapshot import State, mapping_in, optional_number_in
from trainguard.wire import Observation

KINDS = ("grad_norm/", "update_ratio/", "effective_learning_rate/", "loss/rank")
"""Beginnings of the signals that have a place in their names."""
TOLD = 3
"""Places told of each kind, those that grew most first."""
GREW = 1.5
"""Times its usual value from where on a place is worth telling."""
MOST = 256
LARGEST = 1e300
"""What is not finite counts as this: evidence has to be ranked, and JSON has no infinity."""


class Places:
    """Remembers each place's value of the latest healthy look and of the present trouble.

    Layers are looked at now and then, and at the step after a finding, so a trouble's first finding often has no
    place yet and its second has.

    >>> places = Places()
    >>> before, at = {"grad_norm/a": 1.0, "grad_norm/b": 2.0}, {"grad_norm/a": 9.0, "grad_norm/b": 2.0}
    >>> places.see(Observation(0, 0, 0.0, before), [*before], is_calm=True)
    >>> places.see(Observation(0, 1, 0.0, at), [*at], is_calm=False)
    >>> places.evidence()
    {'grad_norm/a_before': 1.0, 'grad_norm/a_at': 9.0}
    """

    def __init__(self) -> None:
        self._usual: dict[str, float] = {}
        self._now: dict[str, float] = {}

    def reset(self) -> None:
        """Back to having seen nothing."""
        self._usual.clear()
        self._now.clear()

    def see(self, observation: Observation, slashed: Sequence[str], is_calm: bool) -> None:
        """Take in what ``observation`` says of places; ``slashed`` are its signals that have one."""
        if is_calm:
            self._now.clear()
        seen, signals = self._usual if is_calm else self._now, observation.signals
        has_room = len(seen) + len(slashed) <= MOST
        for name in slashed:
            if name.startswith(KINDS) and (has_room or name in seen or len(seen) < MOST):
                value = signals[name]
                seen[name] = value if isfinite(value) else LARGEST

    def evidence(self) -> dict[str, float]:
        """By ``<signal>/<place>_before`` and ``_at``: the places that grew most, of each kind."""
        grown: dict[str, list[tuple[float, str]]] = {kind: [] for kind in KINDS}
        for name, value in self._now.items():
            usual = self._usual.get(name, 0.0)
            if 0 < usual < LARGEST and value > GREW * usual:
                kind = next(kind for kind in KINDS if name.startswith(kind))
                grown[kind].append((value / usual, name))
        told: dict[str, float] = {}
        for found in grown.values():
            for _, name in sorted(found, reverse=True)[:TOLD]:
                told[f"{name}_before"] = self._usual[name]
                told[f"{name}_at"] = self._now[name]
        return told

    def state_dict(self) -> State:
        """Everything remembered, as JSON."""
        return {"usual": {**self._usual}, "now": {**self._now}}

    def load_state_dict(self, state: Mapping[str, JsonValue]) -> None:
        """Take a state back; ``ValueError`` names a field that is damaged. An older version's has none."""
        self._usual = _numbers(mapping_in(state, "usual")) if "usual" in state else {}
        self._now = _numbers(mapping_in(state, "now")) if "now" in state else {}


def _numbers(saved: Mapping[str, JsonValue]) -> dict[str, float]:
    found = {name: optional_number_in(saved, name) for name in saved}
    return {name: value for name, value in found.items() if value is not None}
