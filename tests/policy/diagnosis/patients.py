"""Incidents and set-ups as the tests need them."""

from __future__ import annotations

from uuid import UUID

from pydantic import JsonValue

from trainguard.wire import FindingKind, IncidentReport, RunDescription


def incident(kind: FindingKind, *, onset: int = 1200, seen: int = 1204, **evidence: float) -> IncidentReport:
    return IncidentReport(
        incident_id=UUID(int=9), kind=kind, state="open", severity="critical", attempt=0, onset_step=onset,
        detected_step=seen, opened_at=0.0, updated_at=0.0, evidence=evidence, summary="Something was seen.",
    )  # fmt: skip


def run(
    optimizer: str = "AdamW",
    *,
    schedulers: list[JsonValue] | None = None,
    scaler: str | None = None,
    precision: str = "float32",
    parameters: int = 1000,
    trainable: int | None = None,
    task: str = "",
    total_steps: int | None = None,
    **group: JsonValue,
) -> RunDescription:
    """A run's description with one optimizer of one group, as `client_hook.configuration` writes it."""
    return RunDescription(
        run_id=UUID(int=1), run="gpt", started_at=0.0, total_steps=total_steps, checkpoint_every=100,
        tags={"task": task} if task else {},
        config={
            "optimizers": [{"name": optimizer, "group_count": 1, "groups": [{"lr": 1e-3, **group}]}],
            "schedulers": ["LambdaLR"] if schedulers is None else schedulers,
            "scaler": scaler, "parameter_types": [precision], "parameters": parameters,
            "trainable_parameters": parameters if trainable is None else trainable,
        },
    )  # fmt: skip
