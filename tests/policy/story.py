"""A small stage for policy tests: a run whose loss, findings and trainer the test plays itself."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID, uuid5

from pydantic import JsonValue

from trainguard.detectors.vitals import Vitals
from trainguard.policy import Incident, Judgement, Playbook, PolicyMemory, Situation, judge
from trainguard.wire import (
    Acknowledgement,
    AcknowledgementStatus,
    CheckpointReport,
    CheckpointState,
    Command,
    DecisionReport,
    Finding,
    FindingKind,
    LoosenClipping,
    LowerLearningRate,
    Mode,
    Rollback,
    RunDescription,
    RunState,
    ScaleLearningRate,
    Severity,
    TightenClipping,
)

RUN = UUID(int=1)


def checkpoint(step: int, state: CheckpointState = "confirmed", attempt: int = 0) -> CheckpointReport:
    return CheckpointReport(
        checkpoint_id=uuid5(RUN, f"{attempt}:{step}"), attempt=attempt, step=step, state=state, saved_at=float(step)
    )


class Story:
    """Time is the step number times 0.1 s."""

    def __init__(self, mode: Mode = "act", playbook: Playbook | None = None) -> None:
        self.mode: Mode = mode
        self.playbook = playbook or Playbook.default()
        self.memory = PolicyMemory()
        self.attempt = 0
        self.revision = 0
        self.step = 400
        self.checkpoints = [checkpoint(0), checkpoint(200), checkpoint(300), checkpoint(380)]
        self.decisions: list[DecisionReport] = []
        self.commands: list[Command] = []
        self.notices: list[str] = []
        self.run_state: RunState = "running"
        self.silenced = False
        self.description: RunDescription | None = None
        self.lr_scale = 1.0
        self.clip_norm: float | None = None

    def vitals(self, loss: float | None, streak: int = 0, params_nonfinite: bool = False) -> Vitals:
        return Vitals(
            attempt=self.attempt,
            step=self.step,
            loss=loss,
            loss_level=loss,
            loss_center=2.3,
            loss_band=0.05,
            nonfinite_streak=streak,
            params_nonfinite=params_nonfinite,
            grad_norm=1.0,
            grad_norm_center=1.0,
            grad_norm_band=0.1,
            observations=self.step,
        )

    def finding(
        self,
        kind: FindingKind = "divergence",
        severity: Severity = "critical",
        onset: int | None = None,
        **evidence: float,
    ) -> Finding:
        return Finding(
            kind=kind,
            severity=severity,
            detector=kind,
            attempt=self.attempt,
            step=self.step,
            onset_step=self.step - 5 if onset is None else onset,
            signal="loss",
            value=9.0,
            evidence={"loss_before": 2.3, "loss_band": 0.05, **evidence},
            message=f"The loss left its band at step {self.step}.",
        )

    def situation(
        self,
        *findings: Finding,
        loss: float | None = 2.3,
        streak: int = 0,
        params_nonfinite: bool = False,
        answers: Sequence[Acknowledgement] = (),
    ) -> Situation:
        return Situation(
            run_id=RUN,
            mode=self.mode,
            attempt=self.attempt,
            revision=self.revision,
            step=self.step,
            vitals=self.vitals(loss, streak, params_nonfinite),
            findings=findings,
            acknowledgements=answers,
            checkpoints=self.checkpoints,
            run_state=self.run_state,
            silenced=self.silenced,
            description=self.description,
        )

    def judge(
        self,
        *findings: Finding,
        loss: float | None = 2.3,
        streak: int = 0,
        params_nonfinite: bool = False,
        answers: Sequence[Acknowledgement] = (),
    ) -> Judgement:
        situation = self.situation(
            *findings, loss=loss, streak=streak, params_nonfinite=params_nonfinite, answers=answers
        )
        # Through JSON and back each time: what policy remembers must survive the database and the journal.
        memory = PolicyMemory.model_validate_json(self.memory.model_dump_json())
        judgement = judge(memory, situation, self.playbook, now=1000.0 + self.step * 0.1)
        self.memory = judgement.memory
        self.decisions += judgement.decisions
        self.commands += judgement.commands
        self.notices += [notice.event for notice in judgement.notices]
        return judgement

    def walk(self, steps: int, loss: float | None = 2.3) -> None:
        for _ in range(steps):
            self.step += 1
            self.judge(loss=loss)

    def answer(self, status: AcknowledgementStatus = "applied", reason: str = "Done.") -> Acknowledgement:
        """What a trainer answers to the latest command; an applied rollback moves the run."""
        command = self.commands[-1]
        made = self.step
        next_step = made + 1
        changes: dict[str, JsonValue] = {}
        if status == "applied":
            self.revision += 1
            changes = self._changed_by(command)
            first = command.orders[0]
            if isinstance(first, Rollback):
                self.attempt += 1
                next_step = next(c.step for c in self.checkpoints if c.checkpoint_id == first.checkpoint_id)
                self.step = next_step
        return Acknowledgement(
            command_id=command.command_id, status=status, action=command.action, attempt=self.attempt,
            revision=self.revision, step=made, next_step=next_step, handled_at=1.0, reason=reason,
            changes=changes,
        )  # fmt: skip

    def _changed_by(self, command: Command) -> dict[str, JsonValue]:
        """As a trainer reads it back: the multiplier always, what was before where an order was about it."""
        changes: dict[str, JsonValue] = {}
        for order in command.orders:
            if isinstance(order, LowerLearningRate | ScaleLearningRate):
                changes["lr_scale_before"] = self.lr_scale
                self.lr_scale *= order.factor
            elif isinstance(order, TightenClipping):
                changes["clip_norm_before"] = self.clip_norm
                self.clip_norm = min(order.max_norm, self.clip_norm or order.max_norm)
                changes["clip_norm"] = self.clip_norm
            elif isinstance(order, LoosenClipping):
                changes["clip_norm_before"] = self.clip_norm
                changes["clip_norm"] = self.clip_norm = order.max_norm
        changes["lr_scale"] = self.lr_scale
        return changes

    @property
    def incident(self) -> Incident:
        return self.memory.incidents[-1]
