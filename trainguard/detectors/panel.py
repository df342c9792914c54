"""All detectors together, over one shared watch, with the numbers around the onset added to what they say."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import exp, isfinite
from statistics import median

from pydantic import JsonValue

from trainguard.detectors.base import SENSITIVITIES, Detector
from trainguard.detectors.lead import Row, leads
from trainguard.detectors.places import Places
from trainguard.detectors.rows import NAN, Rows
from trainguard.detectors.snapshot import State, list_in, mapping_in, optional_number_in, whole_in
from trainguard.detectors.table import DETECTORS
from trainguard.detectors.vitals import Vitals
from trainguard.detectors.watch import Watch
from trainguard.wire import Finding, Observation

REMEMBERED = 192
"""Points behind the evidence."""
EVIDENCE_AT_MOST = 60
"""Numbers that a finding carries: the wire takes 64."""
HEALTHY = 48
"""Points before the onset whose medians are the ``_before`` values."""
FRESH = 8
"""Points from the onset on, at most, whose medians are the ``_at`` values."""
JUMP = 1.5
"""The applied rate, over the one before, from where on it is taken for the cause of what follows."""
CAUSE_WITHIN = 8
"""Points before an onset in which such a jump belongs to it: the loss of a step shows the update before it."""
SETTLING = 2
"""The points right before an onset are left out of the healthy stretch: an onset is known to a point or two."""


class Panel:
    """Runs the detectors of the table over one run.

    ``sensitivity`` is ``low``, ``normal`` or ``high``; ``overrides`` sets thresholds by detector and name;
    ``detectors`` chooses some of the table (default: all). Unknown names raise ``ValueError``.

    Every finding from ``warning`` on carries, where known, the medians over the healthy stretch before its onset
    (``learning_rate_before``, ``update_ratio_before``, ``grad_norm_before``, ``loss_before``, ``loss_band``) and
    over the steps from the onset to now (``learning_rate_at``, ``update_ratio_at``, ``grad_norm_at``). While the loss
    is out of its band it also says since when (``loss_onset_step``) and how many steps earlier a leading signal had
    left its own: ``lead_steps``, and by signal ``lead_grad_norm`` and so on (`lead`). The rate is the applied one:
    ``learning_rate`` times ``lr_scale``. Where it jumped right before an onset, the jump is the onset: that step made
    the first bad update.

    >>> panel = Panel()
    >>> for step in range(60):
    ...     findings = panel.update(Observation(0, step, 0.0, {"loss": 2.0 + 0.05 * (step % 4), "learning_rate": 0.1}))
    >>> [finding] = panel.update(Observation(0, 60, 0.0, {"loss": 8.0, "learning_rate": 2.0}))
    >>> finding.kind, finding.evidence["learning_rate_before"], finding.evidence["learning_rate_at"]
    ('loss_spike', 0.1, 2.0)
    """

    def __init__(
        self,
        *,
        sensitivity: str = "normal",
        overrides: Mapping[str, Mapping[str, float]] | None = None,
        detectors: Sequence[str] | None = None,
    ) -> None:
        if sensitivity not in SENSITIVITIES:
            raise ValueError(f"sensitivity is {sensitivity!r}; choose one of {', '.join(SENSITIVITIES)}")
        chosen = list(DETECTORS) if detectors is None else list(detectors)
        overrides = overrides or {}
        for name in chosen:
            _check_known("detectors", name, DETECTORS)
        for name in overrides:
            _check_known("overrides", name, DETECTORS)
        self.sensitivity = sensitivity
        self._detectors = {
            name: build_detector(name, sensitivity, overrides.get(name, {})) for name in DETECTORS if name in chosen
        }
        self._judges = [(detector.judge, detector.needs) for detector in self._detectors.values()]
        self._wakeful = [(one.judge, one.needs) for one in self._detectors.values() if not one.rests]
        self._watch = Watch()
        self._was_calm = False
        self.reset()

    @property
    def detectors(self) -> tuple[str, ...]:
        """The names of the detectors that run, in order."""
        return tuple(self._detectors)

    def update(self, observation: Observation) -> list[Finding]:
        """Take the next observation; what the detectors say about it, in the order of the table."""
        watch = self._watch
        watch.update(observation)
        resumed, signals = watch.resumed, watch.signals
        if resumed:
            # What an abandoned branch made is forgotten: those steps come again.
            self._rows.rewind(watch.step)
        is_calm = watch.loss.calm and watch.gradient.calm
        judges = self._wakeful
        if watch.slashed:
            self._places.see(observation, watch.slashed, is_calm and watch.loss_is_finite and watch.gradient_is_finite)
            judges = self._judges
        elif resumed or not (is_calm and self._was_calm):
            judges = self._judges
        self._was_calm = is_calm
        # What lies out of its band is no example of health, but a step size is a cause: it is kept always.
        value_of, loss, norm, rate = signals.get, watch.loss_value, watch.gradient_value, watch.rate
        self._rows.add(
            watch.step,
            NAN if loss is None or not watch.loss.calm else loss,
            NAN if norm is None else norm,
            value_of("update_ratio", NAN),
            NAN if rate is None else rate,
            value_of("adam_rms", NAN),
            value_of("loss_scale", NAN),
        )
        findings: list[Finding] = []
        for judge, needs in judges:
            if needs and needs not in signals and not resumed:
                continue
            finding = judge(watch)
            if finding is not None:
                findings.append(self._with_evidence(finding))
        watch.forget_signals()
        return findings

    def vitals(self) -> Vitals | None:
        """The run's condition; ``None`` before the first observation."""
        watch = self._watch
        if not watch.seen:
            return None
        loss, gradient = watch.loss, watch.gradient
        levels = [level for level in watch.levels if level is not None]
        center = exp(gradient.center) if gradient.ready else None
        return Vitals(
            attempt=watch.attempt,
            step=watch.step,
            loss=watch.loss_value,
            loss_level=median(levels) if levels else None,
            loss_center=loss.center if loss.ready else None,
            loss_band=loss.band if loss.ready else None,
            nonfinite_streak=watch.nonfinite_streak,
            params_nonfinite=watch.params_nonfinite,
            grad_norm=watch.gradient_value,
            grad_norm_center=center,
            grad_norm_band=None if center is None else center * gradient.band,
            observations=watch.seen,
        )

    def reset(self) -> None:
        """Forget everything; thresholds stay."""
        self._watch.reset()
        self._places = Places()
        self._rows = Rows(REMEMBERED)
        # Not saved: a detector that rests is asked once more than it needs to be.
        self._was_calm = False
        for detector in self._detectors.values():
            detector.reset()

    def state_dict(self) -> State:
        """Everything remembered, as JSON without NaN."""
        return {
            "watch": self._watch.state_dict(),
            "rows": [list(row) for row in self._rows.all()],
            "places": self._places.state_dict(),
            "detectors": {name: detector.memory() for name, detector in self._detectors.items()},
        }

    def load_state_dict(self, state: Mapping[str, JsonValue]) -> None:
        """Take a state back; ``ValueError`` names a field that is missing or damaged.

        A detector that the state does not know (it was saved by an older version) begins anew; one that is not
        in this panel is passed over.
        """
        memories = mapping_in(state, "detectors")
        rows = [_row(saved) for saved in list_in(state, "rows")]
        self._watch.load_state_dict(mapping_in(state, "watch"))
        self._rows.fill(rows)
        self._was_calm = False
        self._places.load_state_dict(mapping_in(state, "places") if "places" in state else {})
        for name, detector in self._detectors.items():
            if name in memories:
                detector.load_memory(mapping_in(memories, name))
            else:
                detector.reset()

    def _with_evidence(self, finding: Finding) -> Finding:
        if finding.severity == "info":
            return finding
        onset = self._cause_of(finding.onset_step)
        remembered = self._rows.all()
        before = [row for row in remembered if row.step < onset][: -SETTLING or None][-HEALTHY:]
        since = [row for row in remembered if row.step >= onset][-FRESH:]
        evidence = dict(finding.evidence)
        for name in ("learning_rate", "update_ratio", "grad_norm"):
            for suffix, rows in (("before", before), ("at", since)):
                level = _median_of(rows, name)
                if level is not None:
                    evidence.setdefault(f"{name}_{suffix}", level)
        earlier = None if before else _median_of(remembered[:FRESH], "learning_rate")
        if earlier is not None:
            # The onset is further back than what is remembered; whether the rate still moves can be said all the same.
            evidence["learning_rate_earlier"] = earlier
        rate = self._watch.signals.get("learning_rate")
        if rate is not None and not isfinite(rate):
            # Rows keep numbers only, and a rate that is none breaks everything at its first step.
            evidence["nonfinite_learning_rate"] = 1.0
        if self._watch.loss.ready:
            level = _median_of(before, "loss")
            evidence.setdefault("loss_before", self._watch.loss.center if level is None else level)
            evidence.setdefault("loss_band", self._watch.loss.band)
        if not (self._watch.loss.calm and self._watch.loss_is_finite):
            evidence.update(self._leads())
        for name, value in self._places.evidence().items():
            if len(evidence) < EVIDENCE_AT_MOST:
                evidence.setdefault(name, value)
        return finding.model_copy(update={"evidence": evidence, "onset_step": onset})

    def _leads(self) -> dict[str, float]:
        """Since when the loss has been out of its band, and which signals were so before it."""
        loss_onset = self._watch.onset(lead=False)
        found = leads(self._rows.all(), loss_onset)
        return {
            "loss_onset_step": float(loss_onset),
            "lead_steps": float(max(found.values(), default=0)),
            **{f"lead_{name}": float(steps) for name, steps in found.items()},
        }

    def _cause_of(self, onset: int) -> int:
        """The step at which the applied rate jumped shortly before ``onset``, else ``onset`` itself."""
        rows = [row for row in self._rows.all() if row.step <= onset][-CAUSE_WITHIN - 1 :]
        for before, row in pairwise(rows):
            if before.learning_rate and row.learning_rate and row.learning_rate > JUMP * before.learning_rate:
                return row.step
        return onset


def build_detector(name: str, sensitivity: str = "normal", thresholds: Mapping[str, float] | None = None) -> Detector:
    """A detector of the table with some thresholds set; ``ValueError`` names what is not known.

    >>> build_detector("loss_spike", "high", {"z": 9.0}).name
    'loss_spike'
    """
    _check_known("detector", name, DETECTORS)
    kind = DETECTORS[name]
    for threshold in thresholds or {}:
        _check_known(f"overrides.{name}", threshold, thresholds_of(kind))
    return kind(sensitivity=sensitivity, **dict(thresholds or {}))


def thresholds_of(kind: type[Detector]) -> dict[str, float]:
    """The thresholds that a detector takes, with their defaults.

    >>> sorted(thresholds_of(DETECTORS["non_finite"]))
    ['calm_after', 'critical_after', 'critical_after_skipped']
    """
    parameters = inspect.signature(kind).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.name != "sensitivity"}


def _check_known(field: str, name: str, known: Mapping[str, object]) -> None:
    if name not in known:
        raise ValueError(f"{field} names {name!r}; known are {', '.join(known)}")


def _median_of(rows: Sequence[Row], name: str) -> float | None:
    values = [value for row in rows if (value := getattr(row, name)) is not None]
    return median(values) if values else None


def _row(saved: JsonValue) -> Row:
    # Two fields came later: a state of before has rows without them.
    if isinstance(saved, list) and len(saved) == len(Row._fields) - len(Row._field_defaults):
        saved = [*saved, *Row._field_defaults.values()]
    if not isinstance(saved, list) or len(saved) != len(Row._fields):
        raise ValueError(f"field 'rows' of the saved state holds {saved!r}, not a row of {len(Row._fields)}")
    state = dict(zip(Row._fields, saved))
    return Row(whole_in(state, "step"), *(optional_number_in(state, name) for name in Row._fields[1:]))
