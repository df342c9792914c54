"""Real processes in one gloo process group: spawned, with a deadline, and what each of them has to say."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from client_hook.guard import raise_swallowed, record_swallowed

DEADLINE_SECONDS = 120.0

Scene = Callable[[int, Path], Any]
"""What one rank does; returns JSON values."""


def run_ranks(scene: Scene, folder: Path, *, ranks: int = 2, may_die: tuple[int, ...] = ()) -> dict[int, Any]:
    """What ``scene(rank, folder)`` returned on each rank.

    A rank that raises, or that has not ended by the deadline, fails the test; one in ``may_die`` may be killed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Forked from a process that has imported everything and done nothing: importing torch costs seconds a process.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["client_hook", "torch.nn.parallel", "torch.distributed.fsdp", __name__])
    started = [
        context.Process(target=_one, args=(scene, rank, ranks, port, folder), daemon=True) for rank in range(ranks)
    ]
    for process in started:
        process.start()
    deadline = time.monotonic() + DEADLINE_SECONDS
    try:
        for process in started:
            process.join(max(deadline - time.monotonic(), 0.1))
        hanging = [rank for rank, process in enumerate(started) if process.is_alive()]
    finally:
        for process in started:
            process.kill()
            process.join(10)
    said = {rank: _said(folder, rank) for rank in range(ranks)}
    failed = [f"rank {rank}:\n{words['error']}" for rank, words in said.items() if words and "error" in words]
    assert not failed, "\n".join(failed)
    assert not hanging, f"ranks {hanging} had not ended after {DEADLINE_SECONDS:.0f} s"
    silent = [rank for rank, words in said.items() if words is None and rank not in may_die]
    assert not silent, f"ranks {silent} ended without a word"
    return {rank: words["said"] for rank, words in said.items() if words is not None}


def _said(folder: Path, rank: int) -> dict[str, Any] | None:
    path = folder / f"said-{rank}.json"
    return json.loads(path.read_text()) if path.exists() else None


def _one(scene: Scene, rank: int, ranks: int, port: int, folder: Path) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    record_swallowed()
    try:
        dist.init_process_group("gloo", rank=rank, world_size=ranks)
        said: dict[str, Any] = {"said": scene(rank, folder)}
        raise_swallowed()
    except BaseException:
        said = {"error": traceback.format_exc()}
    path = folder / f"said-{rank}.json"
    path.with_suffix(".part").write_text(json.dumps(said))
    os.replace(path.with_suffix(".part"), path)
    # Rank 0 keeps the store; a process group is not waited for here, a rank may be dead.
    others = [folder / f"said-{other}.json" for other in range(ranks)]
    until = time.monotonic() + (5.0 if "said" in said else 0.0)
    while time.monotonic() < until and not all(other.exists() for other in others):
        time.sleep(0.02)
    os._exit(0)
