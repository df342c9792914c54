"""Who takes part: the panel at its three sensitivities, and the peers' rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

from benchmarks.detection.peers import PEERS
from trainguard.detectors import Panel
from trainguard.wire import Observation

Listen = Callable[[Sequence[Observation]], list[int]]
"""Run a fresh rule over observations: the indices at which it spoke."""

OURS = "trainguard"


def contestants() -> dict[str, Listen]:
    """Everyone by name, ours first."""
    ours = {OURS: _panel("normal"), f"{OURS}, low": _panel("low"), f"{OURS}, high": _panel("high")}
    return {**ours, **{name: _peer(name) for name in PEERS}}


def plateau_contestants() -> dict[str, Listen]:
    """Those that look for plateaus, and only that part of them."""
    patience = "patience (EarlyStopping)"
    return {OURS: _panel("normal", ["plateau"]), patience: _peer(patience)}


def _panel(sensitivity: str, detectors: Sequence[str] | None = None) -> Listen:
    def listen(observations: Sequence[Observation]) -> list[int]:
        panel = Panel(sensitivity=sensitivity, detectors=detectors)
        # Findings of severity info are history and call nobody.
        return [
            index
            for index, observation in enumerate(observations)
            if any(finding.severity != "info" for finding in panel.update(observation))
        ]

    return listen


def _peer(name: str) -> Listen:
    def listen(observations: Sequence[Observation]) -> list[int]:
        rule = PEERS[name](len(observations))
        return [index for index, observation in enumerate(observations) if rule.update(observation)]

    return listen


def microseconds_per_observation(observations: Sequence[Observation]) -> float:
    """Mean time of one ``Panel.update``."""
    panel = Panel()
    began = perf_counter()
    for observation in observations:
        panel.update(observation)
    return 1e6 * (perf_counter() - began) / len(observations)
