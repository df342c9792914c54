"""What every detector wants to know about a step: where the loss and the gradient stand, and the phase.

A detector alone has a watch of its own; the panel has one for all, so that baselines are computed once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from math import isfinite, log
from struct import Struct
from typing import NamedTuple

from pydantic import JsonValue

from trainguard.detectors.baseline import Baseline
from trainguard.detectors.layered import ByPlace, by_place
from trainguard.detectors.snapshot import State, flag_in, list_in, mapping_in, number_in, optional_number_in, whole_in
from trainguard.wire import Observation

HISTORY = 48
"""Points that an onset may reach back."""
GRACE_AFTER_ATTEMPT = 8
GRACE_AFTER_GAP = 4
GAP = 3
"""A step number that jumps by more than so many usual strides is a gap."""
RAISED = 3.0
"""Bands above the center from where on a point belongs to a trouble that came after it."""
LEVELS = 8
LEAD = 16
"""Points that a gradient may run ahead of the loss."""

_WHOLE = ("attempt", "grace", "nonfinite_streak", "seen", "step", "stride")
_FLAGS = (
    "gradient_is_finite",
    "gradient_seen",
    "loss_is_finite",
    "loss_seen",
    "params_nonfinite",
    "resumed",
)
_POINT = Struct("<qdd?")
"""A point in bytes: a third of what a tuple of numbers takes."""
_NOTHING: Mapping[str, float] = {}


class Point(NamedTuple):
    """One past step: where it stood against the baselines of its time."""

    step: int
    loss_z: float
    gradient_z: float
    is_finite: bool


class Watch:
    """Takes observations and keeps what the detectors judge by.

    ``loss`` is a baseline of the loss as it is, ``gradient`` one of the logarithm of the gradient norm, whose
    noise is multiplicative. ``loss_value`` and ``gradient_value`` are the newest raw numbers or ``None``,
    ``loss_seen`` and ``gradient_seen`` say that they are there and finite,
    ``grace`` counts the points for which a resume or a gap still excuses a bump, and ``resumed`` says that
    this very observation began one. ``rate`` is the applied learning rate (the multiplier's share in it) where it
    is known and a number, ``evaluated`` says that an evaluation lay before this step. ``slashed`` names the signals of
    single layers and ranks in this observation; their values are in ``layers`` and ``ranks``, by kind and place.

    >>> watch = Watch()
    >>> watch.update(Observation(attempt=0, step=0, observed_at=0.0, signals={"loss": 2.5}))
    >>> watch.loss_value, watch.gradient_value, watch.loss.ready
    (2.5, None, False)
    """

    __slots__ = (
        *_WHOLE,
        *_FLAGS,
        "_history",
        "evaluated",
        "gradient",
        "gradient_value",
        "layers",
        "levels",
        "loss",
        "loss_scale",
        "loss_value",
        "ranks",
        "rate",
        "signals",
        "slashed",
    )

    def __init__(self) -> None:
        self.loss = Baseline()
        self.gradient = Baseline(smallest_rise=0.0, relative_floor=0.0, absolute_floor=0.05)
        self.reset()

    def reset(self) -> None:
        """Back to having seen nothing."""
        self.loss.reset()
        self.gradient.reset()
        self._history: deque[bytes] = deque(maxlen=HISTORY)
        self.levels: deque[float | None] = deque(maxlen=LEVELS)
        self.attempt = 0
        self.step = 0
        self.stride = 0
        self.seen = 0
        self.grace = 0
        self.resumed = False
        self.loss_value: float | None = None
        self.gradient_value: float | None = None
        self.loss_seen = False
        self.gradient_seen = False
        self.loss_is_finite = True
        self.gradient_is_finite = True
        self.nonfinite_streak = 0
        self.params_nonfinite = False
        self.loss_scale: float | None = None
        self.signals: Mapping[str, float] = _NOTHING
        self.slashed: tuple[str, ...] = ()
        self.layers: ByPlace = {}
        self.ranks: ByPlace = {}
        self.evaluated = False
        self.rate: float | None = None

    def update(self, observation: Observation) -> None:
        """Take one observation in."""
        # Every number of every run comes through here, so each is looked up once and kept in a local name.
        signals = self.signals = observation.signals
        value_of, step = signals.get, observation.step
        if 0 < self.stride == step - self.step and observation.attempt == self.attempt and not self.grace:
            self.resumed = False
            self.step = step
        else:
            self._place(observation.attempt, step)
        # Names of layers and ranks come with few observations, and one search sees that there are none.
        if "/" in "".join(signals):
            self.slashed = tuple([name for name in signals if "/" in name])
            self.layers, self.ranks = by_place(signals, self.slashed)
        elif self.slashed:
            self.slashed, self.layers, self.ranks = (), {}, {}
        self.evaluated = "val_loss" in signals
        rate = value_of("learning_rate")
        if rate is not None:
            rate *= value_of("lr_scale", 1.0)
            if not isfinite(rate):
                rate = None
        self.rate = rate
        loss = self.loss_value = value_of("loss")
        norm = value_of("grad_norm")
        if norm is None:
            norm = value_of("grad_norm_clipped")
        self.gradient_value = norm
        loss_z = gradient_z = 0.0
        loss_is_finite = True
        self.loss_seen = False
        if loss is not None:
            loss_is_finite = self.loss_seen = isfinite(loss)
            self.levels.append(loss if loss_is_finite else None)
            if loss_is_finite:
                self.loss.update(loss)
                loss_z = self.loss.z
        self.loss_is_finite = loss_is_finite
        norm_is_finite = True
        self.gradient_seen = False
        if norm is not None:
            norm_is_finite = self.gradient_seen = isfinite(norm)
            if norm_is_finite:
                self.gradient.update(log(norm if norm > 1e-30 else 1e-30))
                gradient_z = self.gradient.z
        scaler_step = "loss_scale" in signals and self._is_scaler_step(signals)
        gradient_is_finite = self.gradient_is_finite = (
            norm_is_finite and not value_of("nonfinite_grads", 0.0) > 0
        ) or scaler_step
        self.params_nonfinite = value_of("nonfinite_params", 0.0) > 0
        is_finite = loss_is_finite and gradient_is_finite
        self.nonfinite_streak = 0 if is_finite else self.nonfinite_streak + 1
        self._history.append(_POINT.pack(step, loss_z, gradient_z, is_finite))
        self.seen += 1

    def forget_signals(self) -> None:
        """Let go of the newest observation's signals, once all have judged it: a service holds thousands of these."""
        self.signals = _NOTHING
        if self.slashed:
            self.slashed, self.layers, self.ranks = (), {}, {}

    def _is_scaler_step(self, signals: Mapping[str, float]) -> bool:
        """Whether a GradScaler skipped this step and lowered its scale: mixed precision at work, no trouble."""
        before, now = self.loss_scale, signals.get("loss_scale")
        if now is not None and isfinite(now):
            self.loss_scale = now
        if now is None or not _above_zero(signals, "update_skipped") or not self.loss_is_finite:
            return False
        return before is None or now < before

    def _place(self, attempt: int, step: int) -> None:
        self.resumed = False
        if self.grace:
            self.grace -= 1
        if self.seen:
            stride = step - self.step
            if attempt != self.attempt or stride <= 0:
                self.resumed = True
                self.grace = GRACE_AFTER_ATTEMPT
                self.loss.drop_excursion()
                self.gradient.drop_excursion()
                self._history.clear()
                self.levels.clear()
                self.nonfinite_streak = 0
            elif self.stride and stride > GAP * self.stride:
                self.grace = max(self.grace, GRACE_AFTER_GAP)
            self.stride = stride if stride > 0 else 0
        self.attempt = attempt
        self.step = step

    def points(self) -> list[Point]:
        """The newest points, oldest first."""
        return [Point(*_POINT.unpack(packed)) for packed in self._history]

    def onset(self, *, lead: bool = True) -> int:
        """The step at which the trouble that is seen now began, as far as the history reaches back.

        It walks back over the raised or non-finite points, one calm point between them forgiven, and from
        there, with ``lead``, over up to 16 points in which the gradient norm had already left its band.
        """
        points = self.points()
        first = len(points) - 1
        index = first
        while index >= 0 and first - index <= 1:
            if points[index].loss_z >= RAISED or not points[index].is_finite:
                first = index
            index -= 1
        if lead:
            led = first
            index = first
            while index >= 0 and led - index <= 1 and first - index <= LEAD:
                if points[index].gradient_z >= RAISED + 1.0:
                    led = index
                index -= 1
            first = led
        return points[first].step

    def gradient_onset(self) -> int:
        """The step at which the gradient norm left its band, as far as the history reaches back."""
        points = self.points()
        first = len(points) - 1
        index = first
        while index >= 0 and first - index <= 1:
            if points[index].gradient_z >= RAISED:
                first = index
            index -= 1
        return points[first].step

    def state_dict(self) -> State:
        """All it remembers, as JSON."""
        state: State = {name: getattr(self, name) for name in (*_WHOLE, *_FLAGS)}
        state["loss"] = self.loss.state_dict()
        state["gradient"] = self.gradient.state_dict()
        state["history"] = [list(point) for point in self.points()]
        state["levels"] = list(self.levels)
        state["loss_value"] = _spelled(self.loss_value)
        state["gradient_value"] = _spelled(self.gradient_value)
        state["loss_scale"] = self.loss_scale
        return state

    def load_state_dict(self, state: Mapping[str, JsonValue]) -> None:
        """Take a state back; ``ValueError`` names a field that is missing or damaged."""
        history = [_point(row) for row in list_in(state, "history")]
        levels = [_value_in({"levels": level}, "levels") for level in list_in(state, "levels")]
        whole = {name: whole_in(state, name) for name in _WHOLE}
        flags = {name: flag_in(state, name) for name in _FLAGS}
        values = {name: _value_in(state, name) for name in ("loss_value", "gradient_value", "loss_scale")}
        self.loss.load_state_dict(mapping_in(state, "loss"))
        self.gradient.load_state_dict(mapping_in(state, "gradient"))
        self._history = deque((_POINT.pack(*point) for point in history), maxlen=HISTORY)
        self.levels = deque(levels, maxlen=LEVELS)
        for name in whole:
            setattr(self, name, whole[name])
        for name in flags:
            setattr(self, name, flags[name])
        for name in values:
            setattr(self, name, values[name])


def _point(row: JsonValue) -> Point:
    if not isinstance(row, list) or len(row) != 4:
        raise ValueError(f"field 'history' of the saved state holds {row!r}, not a point of four; save it again")
    state = dict(zip(Point._fields, row))
    return Point(
        whole_in(state, "step"), number_in(state, "loss_z"), number_in(state, "gradient_z"), flag_in(state, "is_finite")
    )


def _spelled(value: float | None) -> JsonValue:
    """JSON has no NaN, and the newest loss may well be one."""
    return value if value is None or isfinite(value) else str(value)


def _value_in(state: Mapping[str, JsonValue], name: str) -> float | None:
    value = state.get(name)
    if value in ("nan", "inf", "-inf"):
        return float(str(value))
    return optional_number_in(state, name)


def _above_zero(signals: Mapping[str, float], name: str) -> bool:
    value = signals.get(name)
    return value is not None and value > 0
