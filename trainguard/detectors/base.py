"""The shape of every detector: one verb `update`, all state made in `_reset`, state to JSON and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import isfinite
from typing import ClassVar, Literal, get_args

from pydantic import JsonValue

from trainguard.detectors.snapshot import State, mapping_in
from trainguard.detectors.watch import Watch
from trainguard.wire import Finding, FindingKind, Observation, Severity

Sensitivity = Literal["low", "normal", "high"]
SENSITIVITIES: tuple[str, ...] = get_args(Sensitivity)
_STRICTNESS = {"low": 1.5, "normal": 1.0, "high": 0.75}


class Detector(ABC):
    """A pure streaming object: observations in, now and then a finding out.

    No clock, no chance, no I/O, bounded memory; the same state and the same observations give the same
    findings, also after the state went through JSON. A signal may be missing on any step. A detector speaks
    once per trouble and again only when the trouble is over or has become worse.

    A subclass sets ``name`` and ``kind``, takes its thresholds as keywords, and fills in `judge`, `_reset`,
    `memory` and `load_memory`. ``sensitivity`` scales statistical thresholds: ``low`` asks for half as much again,
    ``high`` is content with three quarters.
    """

    name: ClassVar[str]
    kind: ClassVar[FindingKind]
    needs: ClassVar[str] = ""
    """A signal without which it has nothing to judge: the panel then passes it over, unless an attempt begins."""
    rests: ClassVar[bool] = False
    """Whether it has nothing to judge at a point like most: loss and gradient in their bands, as at the point before,
    no layer or rank measured, and no attempt begins. The panel passes it over there."""

    def __init__(self, *, sensitivity: str = "normal") -> None:
        if sensitivity not in _STRICTNESS:
            raise ValueError(f"sensitivity is {sensitivity!r}; choose one of {', '.join(SENSITIVITIES)}")
        self.sensitivity = sensitivity
        self.strictness = _STRICTNESS[sensitivity]
        # Made when it is used alone; in a panel sixteen watches would be three quarters of the memory.
        self._own_watch: Watch | None = None
        self._reset()

    @property
    def _watch(self) -> Watch:
        if self._own_watch is None:
            self._own_watch = Watch()
        return self._own_watch

    def update(self, observation: Observation) -> Finding | None:
        """Take the next observation; a finding if there is something to say."""
        self._watch.update(observation)
        return self.judge(self._watch)

    @abstractmethod
    def judge(self, watch: Watch) -> Finding | None:
        """Say what there is to say about the observation that ``watch`` took in last.

        The panel calls this with one watch for all its detectors; alone, `update` calls it with its own.
        """

    def reset(self) -> None:
        """Forget everything; thresholds stay."""
        if self._own_watch is not None:
            self._own_watch.reset()
        self._reset()

    def state_dict(self) -> State:
        """Everything remembered, as JSON without NaN."""
        return {"watch": self._watch.state_dict(), "memory": self.memory()}

    def load_state_dict(self, state: Mapping[str, JsonValue]) -> None:
        """Take a state back; ``ValueError`` names a field that is missing or damaged."""
        self._watch.load_state_dict(mapping_in(state, "watch"))
        self.load_memory(mapping_in(state, "memory"))

    @abstractmethod
    def _reset(self) -> None:
        """Make all state but the watch."""

    @abstractmethod
    def memory(self) -> State:
        """What it remembers beside the watch, as JSON; the panel, whose watch is shared, saves this alone."""

    @abstractmethod
    def load_memory(self, state: Mapping[str, JsonValue]) -> None:
        """Take back what `memory` gave; ``ValueError`` names a field that is missing or damaged."""

    def _threshold(self, name: str, value: float) -> float:
        if not isfinite(value) or value <= 0:
            raise ValueError(f"{self.name}.{name} is {value!r}; it must be a finite number above 0")
        return float(value)

    def _finding(
        self,
        watch: Watch,
        severity: Severity,
        message: str,
        *,
        onset: int | None = None,
        signal: str = "loss",
        value: float | None = None,
        evidence: Mapping[str, float] | None = None,
    ) -> Finding:
        return Finding(
            kind=self.kind,
            severity=severity,
            detector=self.name,
            attempt=watch.attempt,
            step=watch.step,
            onset_step=watch.step if onset is None else min(onset, watch.step),
            signal=signal,
            value=value,
            evidence=dict(evidence or {}),
            message=message,
        )
