"""The same little run, written as every tool would write it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from math import nan
from pathlib import Path
from uuid import UUID

from trainguard.wire import Envelope, Evaluation, ObservationBlock, RunDescription

RECORDED = Path(__file__).parent / "recorded"
POINTS = 40
BAD = 30
"""The step whose loss is NaN, in every one of them."""


def loss_at(step: int) -> float:
    return nan if step == BAD else round(2.0 + 0.05 * (step % 4), 3)


def write_csv(folder: Path) -> Path:
    path = folder / "run.csv"
    rows = [f"{step},{loss_at(step)},1.0,0.001" for step in range(POINTS)]
    path.write_text("\n".join(["step,loss,grad_norm,lr", *rows]) + "\n")
    return path


def write_json_lines(folder: Path) -> Path:
    path = folder / "run.jsonl"
    lines = [
        json.dumps({"global_step": step, "train": {"loss": loss_at(step), "lr": 1e-3}, "note": "x"})
        for step in range(POINTS)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_trainer_state(folder: Path) -> Path:
    path = folder / "trainer_state.json"
    history: list[dict[str, float]] = []
    for step in range(POINTS):
        history.append({"epoch": 0.1, "grad_norm": 1.0, "learning_rate": 1e-3, "loss": loss_at(step), "step": step})
        if step % 10 == 9:
            history.append({"epoch": 0.1, "eval_loss": 2.1, "eval_runtime": 1.0, "step": step})
    history.append({"step": POINTS - 1, "train_loss": 2.1, "train_runtime": 3.0})
    path.write_text(json.dumps({"best_metric": None, "log_history": history}, indent=2))
    return path


def write_lightning(folder: Path) -> Path:
    """As CSVLogger does: rates first, then training, then evaluation, all with the same step."""
    path = folder / "metrics.csv"
    rows = ["epoch,lr-AdamW,step,train_loss_epoch,train_loss_step,val_loss"]
    for step in range(POINTS):
        rows += [f",0.01,{step},,,", f"0,,{step},,{loss_at(step)},"]
        if step % 10 == 9:
            rows += [f"0,,{step},,,2.1", f"0,,{step},2.05,,"]
    path.write_text("\n".join(rows) + "\n")
    return path


def write_spool(folder: Path) -> Path:
    path = folder / "00000001.spool"
    run = RunDescription(run_id=UUID(int=1), run="gpt", started_at=0.0)
    lines = [_spooled(run.model_dump_json())]
    for sequence, first in enumerate(range(0, POINTS, 10), start=1):
        steps = list(range(first, first + 10))
        block = ObservationBlock(
            attempt=0,
            steps=steps,
            observed_at=[0.0] * 10,
            signals={"loss": [loss_at(step) for step in steps], "zero_grads/head": [0.1] * 10},
        )
        envelope = Envelope(
            run_id=run.run_id,
            sender=UUID(int=2),
            sequence=sequence,
            sent_at=0.0,
            attempt=0,
            revision=0,
            blocks=[block],
            evaluations=[Evaluation(attempt=0, step=first, evaluated_at=0.0, values={"val_loss": 2.1})],
        )
        lines.append(_spooled(envelope.model_dump_json()))
    path.write_text("".join(lines))
    return path


def _spooled(payload: str) -> str:
    return f"{zlib.crc32(payload.encode()):08x} {payload}\n"


def recorded(name: str) -> Callable[[Path], Path]:
    """A file that the tool itself wrote (wandb 0.31, torch's SummaryWriter with TensorBoard 2.20)."""

    def copied(folder: Path) -> Path:
        path = folder / name
        path.write_bytes((RECORDED / name).read_bytes())
        return path

    return copied


WRITERS: dict[str, Callable[[Path], Path]] = {
    "CSV": write_csv,
    "JSON lines": write_json_lines,
    "Hugging Face trainer_state.json": write_trainer_state,
    "Lightning metrics.csv": write_lightning,
    "trainguard spool": write_spool,
    "TensorBoard events": recorded("events.out.tfevents.simple_values"),
    "wandb offline file": recorded("run-offline.wandb"),
}
"""By reader: what writes its format. A new reader joins by its line in READERS and one here."""
