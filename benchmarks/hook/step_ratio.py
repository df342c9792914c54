"""Step time of a 10.8 M-parameter GPT, watched in several ways, over the bare one's.

All trainings live in one process and take turns, in an order that is shuffled in every round: what else the
machine does falls on all alike. Each training's figure is the median over the rounds of its step over the bare
step of the same round.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import client_hook
from examples.char_gpt.model import CharGPT, Shape

SHAPE = Shape(vocabulary=256, context=128, width=384, heads=6, blocks=6)
BATCH = 8
DEAD = "http://127.0.0.1:9"


@dataclass
class Training:
    """A model with its optimizer, and what is done around its step."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    before_step: Callable[[], None]
    after_step: Callable[[torch.Tensor], object]
    close: Callable[[], object] = lambda: None

    def step(self, tokens: torch.Tensor) -> float:
        began = time.perf_counter()
        self.optimizer.zero_grad()
        logits = self.model(tokens[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        self.before_step()
        self.optimizer.step()
        self.after_step(loss)
        return time.perf_counter() - began


def _parts() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = CharGPT(SHAPE)
    return model, torch.optim.AdamW(model.parameters(), lr=3e-4)


def bare(folder: Path) -> Training:
    model, optimizer = _parts()
    return Training(model, optimizer, lambda: None, lambda loss: None)


def hooked(server: str | None = None, **options: Any) -> Callable[[Path], Training]:
    def make(folder: Path) -> Training:
        model, optimizer = _parts()
        hook = client_hook.attach(model, optimizer, run="bench", mode="observe", server=server, **options)
        return Training(model, optimizer, lambda: None, hook.observe, lambda: hook.close(timeout=0.1))

    return make


def hand_written(folder: Path) -> Training:
    """The usual monitor: a loop of `p.grad.norm().item()`, and everything into a SummaryWriter."""
    from torch.utils.tensorboard import SummaryWriter

    model, optimizer = _parts()
    writer, made = SummaryWriter(str(folder)), [0]

    def before() -> None:
        total = 0.0
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                norm = parameter.grad.norm().item()
                writer.add_scalar(f"grad_norm/{name}", norm, made[0])
                writer.add_scalar(f"param_norm/{name}", parameter.detach().norm().item(), made[0])
                total += norm**2
        writer.add_scalar("grad_norm", total**0.5, made[0])

    def after(loss: torch.Tensor) -> None:
        writer.add_scalar("loss", loss.item(), made[0])
        made[0] += 1

    return Training(model, optimizer, before, after, writer.close)


def wandb_watch(folder: Path) -> Training:
    """Its histograms of every gradient, on every step as the others measure on every step."""
    import wandb

    model, optimizer = _parts()
    run = wandb.init(project="bench", mode="offline", dir=folder, settings=wandb.Settings(silent=True))
    run.watch(model, log="gradients", log_freq=1)
    return Training(model, optimizer, lambda: None, lambda loss: run.log({"loss": loss.item()}), run.finish)


def main(rounds: int) -> None:
    torch.set_num_threads(2)
    processes = {
        kind: subprocess.Popen(
            [sys.executable, "-m", "benchmarks.hook.services", kind], stdout=subprocess.PIPE, text=True
        )
        for kind in ("late", "reset")
    }
    ports = {kind: int(process.stdout.readline()) for kind, process in processes.items() if process.stdout}
    makers: dict[str, Callable[[Path], Training]] = {
        "bare": bare,
        "trainguard, all default signals": hooked(),
        "trainguard, the service dead": hooked(DEAD),
        "trainguard, the service answering after 30 s": hooked(f"http://127.0.0.1:{ports['late']}"),
        "trainguard, the service resetting connections": hooked(f"http://127.0.0.1:{ports['reset']}"),
        "trainguard, every layer on every step": hooked(layers_every=1),
        "hand-written monitor with SummaryWriter": hand_written,
        "wandb.watch (offline, log_freq=1)": wandb_watch,
    }
    times: dict[str, list[float]] = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        trainings: dict[str, Training] = {}
        for name, make in makers.items():
            try:
                trainings[name] = make(Path(folder))
            except ImportError as error:
                missing[name] = str(error)
        generator, turns = torch.Generator().manual_seed(0), random.Random(0)
        for round_ in range(rounds + 2):
            tokens = torch.randint(0, SHAPE.vocabulary, (BATCH, SHAPE.context + 1), generator=generator)
            names = list(trainings)
            turns.shuffle(names)
            for name in names:
                seconds = trainings[name].step(tokens)
                if round_ >= 2:
                    times.setdefault(name, []).append(seconds)
        parameters = sum(p.numel() for p in trainings["bare"].model.parameters())
        for training in trainings.values():
            training.close()
    for process in processes.values():
        process.kill()
        process.wait()
    rows = {
        name: {
            "ratio": statistics.median(one / other for one, other in zip(seconds, times["bare"])),
            "median_ms": 1_000 * statistics.median(seconds),
            "least_ms": 1_000 * min(seconds),
        }
        for name, seconds in sorted(times.items(), key=lambda entry: list(makers).index(entry[0]))
    }
    print(json.dumps({"rows": rows, "not_installed": missing, "rounds": rounds, "parameters": parameters}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
