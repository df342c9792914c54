"""Ways to note four numbers of a step: ours and the peers', each opened in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

Log = Callable[[int, dict[str, float]], None]
Opened = tuple[Log, Callable[[], int | None]]
"""What notes a step, and what closes it and says how many steps were lost, where that can be known."""


def trainguard(folder: Path, server: str | None = None) -> Opened:
    import torch

    import client_hook

    model = torch.nn.Linear(1, 1)
    hook = client_hook.attach(
        model, torch.optim.SGD(model.parameters(), lr=0.1), run="bench", mode="observe", server=server
    )

    def log(step: int, values: dict[str, float]) -> None:
        hook.observe(**values)

    def close() -> int:
        hook.close()
        return hook._worker.status.observations_lost

    return log, close


def trainguard_served(folder: Path) -> Opened:
    return trainguard(folder, os.environ["BENCH_SERVER"])


def trackio(folder: Path) -> Opened:
    os.environ |= {"TRACKIO_DIR": str(folder), "HF_HUB_OFFLINE": "1"}
    import trackio

    trackio.init(project="bench", name="bench")
    return lambda step, values: trackio.log(values), lambda: trackio.finish()


def wandb_offline(folder: Path) -> Opened:
    import wandb

    run = wandb.init(project="bench", mode="offline", dir=folder, settings=wandb.Settings(silent=True))
    return lambda step, values: run.log(values), lambda: run.finish()


def summary_writer(folder: Path) -> Opened:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder))

    def log(step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    return log, writer.close


def mlflow_file(folder: Path) -> Opened:
    os.environ |= {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}
    import mlflow

    mlflow.set_tracking_uri(f"file://{folder}/mlruns")
    mlflow.start_run()
    return lambda step, values: mlflow.log_metrics(values, step=step), mlflow.end_run


LOGGERS: dict[str, Callable[[Path], Opened]] = {
    "trainguard": trainguard,
    "trainguard, with a service": trainguard_served,
    "trackio": trackio,
    "wandb (offline)": wandb_offline,
    "SummaryWriter": summary_writer,
    "mlflow (files)": mlflow_file,
}
