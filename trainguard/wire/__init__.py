"""The language between trainer and service, and nothing else: frozen pydantic models that travel as JSON.

A trainer is pinned for weeks inside a running job and a service is redeployed daily, so the wire only
grows: a new field has a default, no field changes its meaning, and unknown fields are ignored. Every file
under `tests/wire/golden/` must be readable by every later version. To add a message, add a file here, a
line below, and a golden file.
"""

from trainguard.wire.acknowledgement import Acknowledgement, AcknowledgementStatus
from trainguard.wire.attempt import AttemptReason, AttemptReport
from trainguard.wire.base import WIRE_VERSION, SignalName, SignalValue, WireModel
from trainguard.wire.checkpoint import CheckpointReport, CheckpointState
from trainguard.wire.command import (
    ACTIONS,
    Command,
    Halt,
    LoosenClipping,
    LowerLearningRate,
    Order,
    Pause,
    RerunTest,
    ResetMoments,
    Resume,
    RewarmUp,
    Rollback,
    SaveNow,
    ScaleLearningRate,
    SetLossScale,
    SkipBatch,
    SkipDataWindow,
    SkipUpdate,
    TightenClipping,
    UnknownOrder,
)
from trainguard.wire.envelope import Envelope, RunState
from trainguard.wire.evaluation import Evaluation
from trainguard.wire.finding import KINDS, Finding, FindingKind, Severity
from trainguard.wire.halt_report import HaltReport
from trainguard.wire.hypothesis import Hypothesis, Support
from trainguard.wire.incident import Cause, DecisionReport, IncidentReport, IncidentState, Verdict
from trainguard.wire.observation import STANDARD_SIGNALS, Observation, ObservationBlock
from trainguard.wire.receipt import Receipt, ReceiptStatus
from trainguard.wire.run_description import Mode, RunDescription

__all__ = [
    "ACTIONS",
    "KINDS",
    "STANDARD_SIGNALS",
    "WIRE_VERSION",
    "Acknowledgement",
    "AcknowledgementStatus",
    "AttemptReason",
    "AttemptReport",
    "Cause",
    "CheckpointReport",
    "CheckpointState",
    "Command",
    "DecisionReport",
    "Envelope",
    "Evaluation",
    "Finding",
    "FindingKind",
    "Halt",
    "HaltReport",
    "Hypothesis",
    "IncidentReport",
    "IncidentState",
    "LoosenClipping",
    "LowerLearningRate",
    "Mode",
    "Observation",
    "ObservationBlock",
    "Order",
    "Pause",
    "Receipt",
    "ReceiptStatus",
    "RerunTest",
    "ResetMoments",
    "Resume",
    "RewarmUp",
    "Rollback",
    "RunDescription",
    "RunState",
    "SaveNow",
    "ScaleLearningRate",
    "SetLossScale",
    "Severity",
    "SignalName",
    "SignalValue",
    "SkipBatch",
    "SkipDataWindow",
    "SkipUpdate",
    "Support",
    "TightenClipping",
    "UnknownOrder",
    "Verdict",
    "WireModel",
]
