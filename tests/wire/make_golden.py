"""Writes the golden files of the present wire version. Run by hand when the version is raised; never edit old ones."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from trainguard import wire

GOLDEN = Path(__file__).parent / "golden" / f"v{wire.WIRE_VERSION}"
NAN, INF = float("nan"), float("inf")


def uid(number: int) -> UUID:
    return UUID(int=number)


def samples() -> dict[str, wire.WireModel]:
    finding = wire.Finding(
        kind="divergence", severity="critical", detector="divergence", attempt=1, step=412, onset_step=405,
        signal="loss", value=NAN, evidence={"loss_before": 2.31, "loss_band": 0.05, "learning_rate_at": INF},
        message="The loss left its band at step 405 and did not come back.",
    )  # fmt: skip
    command = wire.Command(
        command_id=uid(3), incident_id=uid(4), decision_id=uid(5), attempt=1, revision=2,
        orders=(
            wire.Rollback(checkpoint_id=uid(6)), wire.LowerLearningRate(factor=0.05), wire.RewarmUp(steps=20),
            wire.ResetMoments(), wire.SkipDataWindow(batches=16), wire.SaveNow(), wire.Halt(),
        ),
        issued_at=1000.0, expires_at=1300.0, reason="Roll back to the confirmed checkpoint of step 400.",
    )  # fmt: skip
    acknowledgement = wire.Acknowledgement(
        command_id=uid(3), status="applied", action="rollback", attempt=2, revision=3, step=413, next_step=400,
        handled_at=1001.0, reason="Rolled back to step 400.", changes={"lr_scale": 0.05, "restored_step": 400},
    )  # fmt: skip
    attempt = wire.AttemptReport(
        attempt=2,
        parent=1,
        start_step=400,
        reason="rollback",
        began_at=1001.0,
        command_id=uid(3),
        note="note",
    )
    block = wire.ObservationBlock(
        attempt=1, steps=[410, 411, 412], observed_at=[1.0, 2.0, 3.0],
        signals={"loss": [2.3, NAN, INF], "grad_norm": [1.0, None, -INF], "my/metric": [None, 1.0, 2.0]},
    )  # fmt: skip
    evaluation = wire.Evaluation(attempt=1, step=410, evaluated_at=2.5, values={"val_loss": 2.5})
    checkpoint = wire.CheckpointReport(
        checkpoint_id=uid(6), attempt=0, step=400, state="confirmed", place="disk", size_bytes=1024, saved_at=900.0,
        reason="50 quiet steps followed.",
    )  # fmt: skip
    incident = wire.IncidentReport(
        incident_id=uid(4), kind="divergence", state="watching", severity="critical", attempt=2, onset_step=405,
        detected_step=412, opened_at=1000.0, updated_at=1001.0, rung=1, steps_lost=13, findings=2,
        evidence={"loss_before": 2.31}, summary="The loss left its band.", outcome="On probation until step 463.",
    )  # fmt: skip
    decision = wire.DecisionReport(
        decision_id=uid(5), incident_id=uid(4), decided_at=1000.0, decided_by="local", attempt=1, step=412,
        verdict="act", rung=0, orders=command.orders, reason="Roll back.", command_id=uid(3),
    )  # fmt: skip
    return {
        "RunDescription": wire.RunDescription(
            run_id=uid(1), run="char-gpt", project="demo", mode="act", started_at=999.0, total_steps=10_000,
            checkpoint_every=200, hostname="node-7", tags={"team": "lm"}, config={"optimizers": [{"class": "AdamW"}]},
        ),
        "ObservationBlock": block,
        "Evaluation": evaluation,
        "Finding": finding,
        "Command": command,
        "Acknowledgement": acknowledgement,
        "AttemptReport": attempt,
        "CheckpointReport": checkpoint,
        "IncidentReport": incident,
        "DecisionReport": decision,
        "Envelope": wire.Envelope(
            run_id=uid(1), sender=uid(2), sequence=7, sent_at=1001.5, attempt=2, revision=3, attempts=[attempt],
            blocks=[block], evaluations=[evaluation], findings=[finding], checkpoints=[checkpoint],
            acknowledgements=[acknowledgement], incidents=[incident], decisions=[decision], observations_lost=3,
        ),
        "Receipt": wire.Receipt(
            run_id=uid(1), sender=uid(2), sequence=7, status="recorded", server_time=1002.0, commands=[command],
            flush_seconds=2.0, lease_seconds=60.0, message="Watching.",
        ),
    }  # fmt: skip


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name, message in samples().items():
        (GOLDEN / f"{name}.json").write_text(message.model_dump_json(indent=1) + "\n", encoding="utf-8")
