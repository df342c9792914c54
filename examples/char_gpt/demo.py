"""``make demo``: one training, three times, with the real service watching the third.

A healthy twin; the same with a fault and nobody there; the same with the fault and the hook in mode ``act``.
Exits 0 only if the protected run really recovered, by the criterion of `examples.char_gpt.report.judge`.

    SCENARIO=bad-data KEEP_SERVING=1 python -m examples.char_gpt.demo
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

import client_hook
from examples.char_gpt.corpus import VOCABULARY_SIZE, Corpus, read_corpus
from examples.char_gpt.faults import FAULTS, Fault
from examples.char_gpt.model import Shape
from examples.char_gpt.picture import draw
from examples.char_gpt.report import Outcome, report_of, tables_of, write_report
from examples.char_gpt.service import Service, ServiceFailed
from examples.char_gpt.story import read_story
from examples.char_gpt.training import Attach, Recipe, TrainingRecord, train
from examples.char_gpt.training import Progress as Made

RECIPES: dict[str, Recipe] = {
    "full": Recipe(),
    "small": Recipe(
        steps=450,
        peak_rate=8e-3,
        warm_up_steps=30,
        validation_batches=16,
        shape=Shape(VOCABULARY_SIZE, context=48, width=96, heads=4, blocks=1),
    ),
}
"""``small`` shows the same in a fraction of the time, for the tests."""

CHECKPOINT_EVERY = 25
MOST_THREADS = 4
"""The model is small: more threads would wait for each other."""


@dataclass(frozen=True)
class Places:
    """Where the demo writes; everything of an earlier demo is cleared away first."""

    folder: Path

    @property
    def output(self) -> Path:
        return self.folder / "demo-output"

    @property
    def checkpoints(self) -> Path:
        return self.output / "checkpoints"

    @property
    def database(self) -> Path:
        return self.output / "trainguard.db"

    @property
    def report(self) -> Path:
        return self.folder / "demo-report.json"

    @property
    def picture(self) -> Path:
        return self.output / "demo.png"

    def clear(self) -> None:
        """A fresh start: neither old checkpoints nor an old journal."""
        shutil.rmtree(self.output, ignore_errors=True)
        self.report.unlink(missing_ok=True)
        self.output.mkdir(parents=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; the exit status."""
    options = _options(arguments)
    console = Console()
    # A polite `kill` must not leave the service behind, no more than Ctrl-C does.
    signal.signal(signal.SIGTERM, _stop)
    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(max(1, min(MOST_THREADS, os.cpu_count() or 1)))
    places = Places(Path(options.folder).resolve())
    try:
        return _demo(options.scenario, RECIPES[options.recipe], places, console, keep_serving=options.keep_serving)
    except ServiceFailed as error:
        console.print(f"[red]{error}[/red]")
        return 1
    except KeyboardInterrupt:
        console.print("\nStopped. The service is stopped too; what was written so far is in demo-output/.")
        return 130


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.char_gpt.demo", description=__doc__.split("\n")[0])
    parser.add_argument("--scenario", choices=sorted(FAULTS), default=os.environ.get("SCENARIO") or "lr-bug")
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="full")
    parser.add_argument("--folder", default=".", help="where demo-report.json and demo-output/ go")
    parser.add_argument(
        "--keep-serving",
        action="store_true",
        default=os.environ.get("KEEP_SERVING", "") not in ("", "0"),
        help="leave the service up to look at",
    )
    options = parser.parse_args(arguments)
    if options.scenario not in FAULTS:
        parser.error(f"SCENARIO={options.scenario} is unknown; use one of {', '.join(sorted(FAULTS))}")
    return options


def _demo(scenario: str, recipe: Recipe, places: Places, console: Console, *, keep_serving: bool) -> int:
    places.clear()
    began = time.monotonic()
    _log_to(places.output / "hook.log")
    fault = FAULTS[scenario](recipe.steps, recipe.batch_size)
    with Service(places.database, places.output / "service.log") as service:
        console.print(f"[bold]trainguard demo: {scenario}[/bold]   the service: {service.url}")
        console.print(f"The fault: {fault.sentence}.\n", highlight=False)
        healthy, unprotected, protected, run_id = _trainings(recipe, read_corpus(), fault, service, places, console)
        story = read_story(service.get, run_id)
        outcome = Outcome(fault, recipe, healthy, unprotected, protected, story, time.monotonic() - began)
        report = report_of(scenario, outcome)
        write_report(report, places.report)
        draw(outcome, places.picture)
        _tell(outcome, report, places, console)
        if keep_serving:
            console.print(
                f"\nThe service stays up: [bold]{service.url}/runs/{run_id}[/bold]  (stop it: kill {service.pid})",
                soft_wrap=True,
            )
            service.leave_running()
    return 0 if report["protected"]["recovered"] else 1


def _trainings(
    recipe: Recipe, corpus: Corpus, fault: Fault, service: Service, places: Places, console: Console
) -> tuple[TrainingRecord, TrainingRecord, TrainingRecord, UUID]:
    run_ids: list[UUID] = []

    def attach(model: nn.Module, optimizer: Optimizer, scheduler: LambdaLR) -> client_hook.TrainingHook:
        hook = client_hook.attach(
            model,
            optimizer,
            run="char-gpt",
            project="demo",
            server=service.url,
            mode="act",
            scheduler=scheduler,
            checkpoints=places.checkpoints,
            checkpoint_every=CHECKPOINT_EVERY,
            tags={"scenario": fault.name},
        )
        run_ids.append(hook.run_id)
        return hook

    def made(name: str, fault: Fault | None, attach: Attach | None) -> TrainingRecord:
        task = progress.add_task(name, total=recipe.steps, loss="")

        def watch(step: Made) -> None:
            outcome = step.outcome
            if outcome is not None and outcome.rolled_back:
                console.print(f"  step {outcome.step}: {outcome.reason}", highlight=False)
            done = step.step + 1 if outcome is None else outcome.next_step
            progress.update(task, completed=done, loss=f"loss {step.loss:.3f}")

        return train(recipe, corpus, fault=fault, attach=attach, watch=watch)

    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]:<11}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        healthy = made("healthy twin", None, None)
        unprotected = made("with the fault, no hook", fault, None)
        protected = made("with the fault and the hook", fault, attach)
    return healthy, unprotected, protected, run_ids[0]


def _tell(outcome: Outcome, report: dict[str, Any], places: Places, console: Console) -> None:
    protected = report["protected"]
    console.print()
    console.print(tables_of(outcome), highlight=False)
    colour = "green" if protected["recovered"] else "red"
    console.print(f"\n[bold {colour}]{protected['verdict']}[/bold {colour}]", highlight=False)
    if not protected["recovered"]:
        console.print(f"Look into {places.output}: hook.log and service.log say what happened.", highlight=False)
    console.print(
        f"{places.report}   {places.picture}   {outcome.seconds:.0f} s", style="dim", highlight=False, soft_wrap=True
    )


def _log_to(path: Path) -> None:
    """The hook's log goes to a file: in the terminal it would tear the progress bars."""
    logger = logging.getLogger("trainguard")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)


def _stop(signal_number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
