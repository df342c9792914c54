"""The same judgement as the service's, inside the trainer: eyes always, decisions only where it is in charge.

It watches every observation in the worker thread, so that an alarm leaves at once. It decides where no server
was ever named (with the run's whole playbook), or while the server's lease has run out (from the mild remedies of
the run's own playbook, of its project's where the service has told it, or of the default one). A command from the
server always wins: the revision it carries fences the two brains from each other.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from trainguard.detectors import Panel
from trainguard.policy import (
    Judgement,
    Playbook,
    PolicyMemory,
    Situation,
    follow,
    given_up,
    judge,
    learn_from,
)
from trainguard.policy.incident import family_of
from trainguard.wire import (
    Acknowledgement,
    CheckpointReport,
    Command,
    Finding,
    Mode,
    Observation,
    Receipt,
    RunDescription,
    RunState,
    WireModel,
)

_logger = logging.getLogger("trainguard")

SMOOTHED_OVER = 32
"""Steps over which the loss is smoothed where its best is sought."""
FORGET_TROUBLE_AFTER_STEPS = 2_000
"""A level that has lasted so long without a new finding is how the run now is, healthy or not."""


@dataclass(frozen=True)
class Concern:
    """A local finding on its way to the training thread, which guards the checkpoints."""

    onset_step: int
    attempt: int
    message: str
    is_critical: bool


@dataclass
class Standing:
    """Where the trainer stands; written by the training thread, read by the worker."""

    attempt: int = 0
    revision: int = 0
    run_state: RunState = "running"


@dataclass(frozen=True)
class Considered:
    """What came of a batch of items: messages for the envelope, orders for the boundary, and the hurry."""

    messages: list[WireModel] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    concerns: list[Concern] = field(default_factory=list)
    flush_now: bool = False


class LocalBrain:
    """Panel and policy of one trainer process. Not a thread: its owner calls it from one place at a time."""

    def __init__(
        self,
        *,
        run_id: UUID,
        mode: Mode,
        standing: Standing,
        clock: Callable[[], float],
        has_server: bool,
        playbook: Playbook | None = None,
        project_playbook: Playbook | None = None,
        sensitivity: str = "normal",
        detectors: Mapping[str, Mapping[str, float]] | None = None,
        memory: PolicyMemory | None = None,
        description: RunDescription | None = None,
        lease_seconds: float = 60.0,
        remember: Callable[[PolicyMemory], None] = lambda memory: None,
        remember_playbook: Callable[[Playbook], None] = lambda playbook: None,
    ) -> None:
        self._run_id = run_id
        self._mode: Mode = mode
        self._standing = standing
        self._clock = clock
        self._has_server = has_server
        self._lease_until = clock() + lease_seconds if has_server else 0.0
        self._has_own_playbook = playbook is not None
        self._own_playbook = playbook or project_playbook or Playbook.default()
        self._mild_playbook = self._own_playbook.for_the_local_brain()
        self._memory = memory or PolicyMemory()
        self._remember = remember
        self._remember_playbook = remember_playbook
        self._description = description
        self._panel = Panel(sensitivity=sensitivity, overrides=detectors)
        # The panel is fed by the worker and saved and rewound by the training thread.
        self._lock = threading.Lock()
        self._attempt_watched = standing.attempt
        self._checkpoints: dict[UUID, CheckpointReport] = {}
        # What is the matter right now, whoever is in charge: it keeps checkpoints from being confirmed.
        self._complaints = PolicyMemory()
        self._has_heard_in_vain = False
        """Whether something was found while the service was in charge."""
        self.is_troubled = False
        """Whether something that was found has not healed yet."""
        self.best_step = 0
        """Where the smoothed loss was at its best so far: since then it may be drifting away."""
        self._smoothed: float | None = None
        self._best = math.inf
        self.seen_step = -1
        """The last step of the present attempt that the panel has judged."""

    @property
    def is_in_charge(self) -> bool:
        """Whether decisions are made here: no server was named, or its lease has run out."""
        return not self._has_server or self._clock() >= self._lease_until

    @property
    def playbook(self) -> Playbook:
        """The whole one where no server was named; while a server is out of reach, what is mild of the run's own, or of
        its project's once that is known.
        """
        return self._mild_playbook if self._has_server else self._own_playbook

    @property
    def memory(self) -> PolicyMemory:
        """What policy remembers; never rewound."""
        return self._memory

    def describe(self, description: RunDescription) -> None:
        """More has become known of how the run is set up."""
        self._description = description

    def heard(self, receipt: Receipt) -> None:
        """A receipt renews the server's lease; what the server has adopted is followed there from now on."""
        self._lease_until = self._clock() + receipt.lease_seconds
        if receipt.adopted:
            self._keep(given_up(self._memory, receipt.adopted))
        if receipt.playbook is not None and not self._has_own_playbook:
            self._take_playbook(receipt.playbook)

    def _take_playbook(self, document: Mapping[str, Any]) -> None:
        """The project's playbook, for when the service is away. One that is not understood changes nothing."""
        try:
            told = Playbook.model_validate(document)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            _logger.warning(
                "the service told a playbook that this trainguard does not understand (%s: %s); while the service is "
                "away, %r is gone by",
                ".".join(str(part) for part in first["loc"]),
                first["msg"],
                self.playbook.name,
            )
            return
        if told != self._own_playbook:
            self._own_playbook, self._mild_playbook = told, told.for_the_local_brain()
            self._remember_playbook(told)

    def healthy_loss(self) -> tuple[float, float] | None:
        """Center and robust width of the healthy loss; ``None`` before there are enough points."""
        with self._lock:
            vitals = self._panel.vitals()
        if vitals is None or vitals.loss_center is None or vitals.loss_band is None:
            return None
        return vitals.loss_center, vitals.loss_band

    def save(self) -> dict[str, Any]:
        """The detectors' memory, for a checkpoint. JSON values."""
        with self._lock:
            return dict(self._panel.state_dict())

    def rewind(self, saved: Mapping[str, Any] | None, *, attempt: int, next_step: int) -> None:
        """Let the detectors go back with the model; policy's memory stays as it is."""
        with self._lock:
            if saved:
                self._panel.load_state_dict(saved)
            else:
                self._panel.reset()
            self._attempt_watched = attempt
            self._complaints = PolicyMemory()
            self._has_heard_in_vain = False
            self.is_troubled = False
            # What is smoothed anew begins high or low by chance, so its best is sought anew as well.
            self._smoothed, self._best, self.best_step = None, math.inf, next_step
            self.seen_step = next_step - 1

    def consider(self, items: Sequence[object]) -> Considered:
        """Judge what happened, in its order."""
        considered = Considered()
        findings: list[Finding] = []
        acknowledgements: list[Acknowledgement] = []
        hurries = False
        for item in items:
            if isinstance(item, Observation):
                found = self._watch(item)
                if found:
                    findings += found
                    self._has_heard_in_vain = self._has_heard_in_vain or not self.is_in_charge
                    considered.messages.extend(found)
                    considered.concerns.extend(
                        Concern(one.onset_step, one.attempt, one.message, one.severity == "critical")
                        for one in found
                        # A slow step or an overfit model is worth a word, but no reason to distrust a checkpoint.
                        if one.severity != "info" and family_of(one.kind) == "instability"
                    )
                    hurries = hurries or any(one.severity != "info" for one in found)
                # Deciding per observation keeps the answer independent of how they were batched.
                if self._has_something_to_judge(findings):
                    self._judge(findings, acknowledgements, item.step, considered)
                    findings, acknowledgements = [], []
            elif isinstance(item, CheckpointReport):
                self._checkpoints[item.checkpoint_id] = item
            elif isinstance(item, Acknowledgement):
                acknowledgements.append(item)
                # What the service tried is not tried again here, should it be gone at the next trouble.
                self._keep(learn_from(self._memory, [item], self.playbook, self._clock()))
        if acknowledgements and (self._memory.active() or self._memory.rate_debt is not None):
            self._judge(findings, acknowledgements, max(self.seen_step, 0), considered)
        hurry = considered.flush_now or hurries or bool(acknowledgements)
        return Considered(considered.messages, considered.commands, considered.concerns, hurry)

    def finish(self) -> list[WireModel]:
        """Judge the end of the run: what was healed is resolved, the rest is handed to a person."""
        considered = Considered()
        if self._memory.active():
            self._judge([], [], max(self.seen_step, 0), considered)
        return considered.messages

    def _watch(self, observation: Observation) -> list[Finding]:
        with self._lock:
            # Steps of an abandoned attempt are history; the detectors are back before them already.
            if observation.attempt < self._attempt_watched:
                return []
            self._attempt_watched = observation.attempt
            findings = self._panel.update(observation)
            self._follow_loss(observation)
            if findings or self.is_troubled:
                self._complain(findings, observation.step)
            self.seen_step = observation.step
            return findings

    def _follow_loss(self, observation: Observation) -> None:
        loss = observation.get("loss")
        if loss is None or not math.isfinite(loss):
            return
        former = loss if self._smoothed is None else self._smoothed
        self._smoothed = former + (loss - former) / SMOOTHED_OVER
        if self._smoothed <= self._best:
            self._best, self.best_step = self._smoothed, observation.step

    def _complain(self, findings: Sequence[Finding], step: int) -> None:
        situation = Situation(
            run_id=self._run_id,
            mode="observe",
            attempt=self._attempt_watched,
            revision=self._standing.revision,
            step=step,
            vitals=self._panel.vitals(),
            findings=tuple(one for one in findings if family_of(one.kind) == "instability"),
        )
        self._complaints = judge(self._complaints, situation, self._own_playbook, self._clock()).memory
        self.is_troubled = any(
            step - incident.last_finding_step < FORGET_TROUBLE_AFTER_STEPS for incident in self._complaints.active()
        )

    def _has_something_to_judge(self, findings: Sequence[Finding]) -> bool:
        if self.is_in_charge and (findings or self._memory.rate_debt is not None or self._take_over_complaints()):
            return True
        return bool(self._memory.active())

    def _take_over_complaints(self) -> bool:
        """What was found while the service was in charge, and is still the matter now that it is not.

        A detector speaks once. Where the service dies after it has heard the alarm and before it has decided, or
        was dead already and its lease not yet over, nobody would ever act on it.
        """
        if not (self._has_heard_in_vain and self.is_troubled):
            return False
        self._has_heard_in_vain = False
        families = {incident.family for incident in self._memory.active()}
        known = {incident.incident_id for incident in self._memory.incidents}
        open_ones = [
            incident.model_copy(update={"decided": "", "outcome": ""})
            for incident in self._complaints.active()
            if incident.family not in families
            and incident.incident_id not in known
            and incident.attempt == self._standing.attempt
        ]
        memory = self._memory
        for incident in open_ones:
            memory = memory.with_incident(incident)
        self._keep(memory)
        return bool(open_ones)

    def _keep(self, memory: PolicyMemory) -> None:
        if memory != self._memory:
            self._memory = memory
            self._remember(memory)

    def _judge(
        self,
        findings: Sequence[Finding],
        acknowledgements: Sequence[Acknowledgement],
        step: int,
        considered: Considered,
    ) -> None:
        with self._lock:
            vitals = self._panel.vitals()
        situation = Situation(
            run_id=self._run_id,
            mode=self._mode,
            attempt=self._standing.attempt,
            revision=self._standing.revision,
            step=step,
            vitals=vitals,
            findings=tuple(findings) if self.is_in_charge else (),
            acknowledgements=tuple(acknowledgements),
            checkpoints=tuple(self._checkpoints.values()),
            decided_by="local",
            run_state=self._standing.run_state,
            description=self._description,
        )
        now = self._clock()
        if self.is_in_charge:
            judgement = judge(self._memory, situation, self.playbook, now)
        else:
            # What was begun here is still followed to its end, so that it is never begun twice.
            judgement = follow(Judgement.begin(self._memory), situation, self.playbook, now)
        self._keep(judgement.memory)
        considered.messages.extend(judgement.incidents)
        considered.messages.extend(judgement.decisions)
        considered.commands.extend(judgement.commands)
