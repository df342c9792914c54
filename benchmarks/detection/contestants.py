"""Who takes part: the panel at its three sensitivities, and the peers' rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from benchmarks.detection.peers import PEERS
from trainguard.detectors import DETECTORS, Panel, thresholds_of
from trainguard.wire import Observation

Listen = Callable[[Sequence[Observation]], list[int]]
"""Run a fresh rule over observations: the indices at which it spoke."""

OURS = "trainguard"
SCALED = {
    "loss_spike": ("z", "long_z", "instant_z", "together"),
    "grad_explosion": ("z", "ratio"),
    "divergence": ("z", "drift_z", "drift"),
}
"""Ours along its trade-off curve: the thresholds that `strictness` scales."""


def contestants() -> dict[str, Listen]:
    """Everyone by name, ours first."""
    ours = {OURS: _panel("normal"), f"{OURS}, low": _panel("low"), f"{OURS}, high": _panel("high")}
    return {**ours, **{name: _peer(name) for name in PEERS}}


def at_strictness(name: str, strictness: float) -> Listen:
    """A contestant with its thresholds scaled: ours, all that are bands or factors; a peer's, its one."""
    return _panel("normal", overrides=scaled_thresholds(strictness)) if name == OURS else _peer(name, strictness)


def scaled_thresholds(strictness: float) -> dict[str, dict[str, float]]:
    """Overrides of the panel's thresholds on how far out of its band something must be.

    >>> scaled_thresholds(2.0)["grad_explosion"]
    {'z': 15.0, 'ratio': 8.0}
    """
    return {
        detector: {name: strictness * thresholds_of(DETECTORS[detector])[name] for name in names}
        for detector, names in SCALED.items()
    }


def quiet_contestants() -> dict[str, Listen]:
    """Ours, for its false alarms alone: all of them, and those that a run in mode ``act`` would treat at once."""
    return {OURS: _panel("normal"), f"{OURS}, critical": _panel("normal", severities=("critical",))}


def plateau_contestants() -> dict[str, Listen]:
    """Those that look for plateaus, and only that part of them."""
    patience = "patience (EarlyStopping)"
    return {OURS: _panel("normal", ["plateau"]), patience: _peer(patience)}


def _panel(
    sensitivity: str,
    detectors: Sequence[str] | None = None,
    overrides: Mapping[str, Mapping[str, float]] | None = None,
    # Findings of severity info are history and call nobody.
    severities: Sequence[str] = ("warning", "critical"),
) -> Listen:
    def listen(observations: Sequence[Observation]) -> list[int]:
        panel = Panel(sensitivity=sensitivity, detectors=detectors, overrides=overrides)
        return [
            index
            for index, observation in enumerate(observations)
            if any(finding.severity in severities for finding in panel.update(observation))
        ]

    return listen


def _peer(name: str, strictness: float = 1.0) -> Listen:
    def listen(observations: Sequence[Observation]) -> list[int]:
        rule = PEERS[name](len(observations), strictness)
        return [index for index, observation in enumerate(observations) if rule.update(observation)]

    return listen
