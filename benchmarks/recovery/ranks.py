"""The same training on two ranks: each with data of its own, gradients averaged by gloo, one of them with a fault."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import tempfile
import traceback
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks.recovery.strategies import Account, Deed
from benchmarks.recovery.training import Record, train
from benchmarks.recovery.workloads import Training
from benchmarks.recovery.workloads.base import MayUpdate

RANKS = 2
SECONDS = 900.0
BAD_RANK = 1


def train_on_ranks(name: str, *, seed: int, strategy: str, is_healthy: bool) -> Record:
    """Train the scenario of that name on two processes; the record of rank 0.

    Raises:
        RuntimeError: a rank failed or did not end; the message holds its traceback.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="bench-recovery-") as folder:
        place = Path(folder)
        arguments = (_free_port(), place, name, seed, strategy, is_healthy)
        started = [context.Process(target=_rank, args=(rank, *arguments)) for rank in range(RANKS)]
        for process in started:
            process.start()
        started[0].join(SECONDS)
        code = started[0].exitcode
        for process in started:
            process.kill()
            process.join()
        said = place / "record.json"
        if not said.exists():
            errors = "\n".join(path.read_text() for path in sorted(place.glob("error-*")))
            how = f"had not ended after {SECONDS:.0f} s" if code is None else f"ended with code {code} and no record"
            raise RuntimeError(f"rank 0 {how}. {errors}")
        document: dict[str, Any] = json.loads(said.read_text())
    account = document.pop("account")
    account["deeds"] = [Deed(**deed) for deed in account["deeds"]]
    return Record(**{field.name: document[field.name] for field in fields(Record) if field.name in document},
                  account=Account(**account))  # fmt: skip


def averaging(training: Training, may_update: MayUpdate) -> MayUpdate:
    """Average the gradients over the ranks before anybody looks at them."""

    def averaged(loss: Tensor) -> bool:
        gradients = [p.grad for p in training.parameters() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        at = 0
        for gradient in gradients:
            gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient) / RANKS)
            at += gradient.numel()
        return may_update(loss)

    return averaged


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _rank(rank: int, port: int, place: Path, name: str, seed: int, strategy: str, is_healthy: bool) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    # Imported here: scenarios know of this module's caller.
    from benchmarks.recovery.scenarios import named

    scenario = named(name)
    try:
        dist.init_process_group("gloo", rank=rank, world_size=RANKS)
        fault = None if is_healthy or rank != BAD_RANK else scenario.fault
        record = train(
            scenario.workload,
            seed=seed,
            order=seed + 50 * rank,
            strategy=strategy,
            fault=fault,
            recipe_factor=scenario.recipe_factor,
            around=averaging,
            folder=place / "checkpoints",
        )
        dist.barrier()
        if rank == 0:
            (place / "part").write_text(json.dumps(record.as_json()))
            os.replace(place / "part", place / "record.json")
    except BaseException:
        (place / f"error-{rank}").write_text(traceback.format_exc())
        raise
