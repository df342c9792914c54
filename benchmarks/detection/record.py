"""Records real trainings in which the loop really goes wrong, at a step that is known.

``python -m benchmarks.detection.record`` trains the example's small GPT once per scenario, about half a minute each
on two cores, and writes the curves to ``tests/detectors/recorded`` in the format that `curves` reads.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from examples.char_gpt.corpus import VOCABULARY_SIZE, Batch, BatchStream, Corpus, read_corpus
from examples.char_gpt.model import CharGPT, Shape, loss_of

RECORDED = Path(__file__).resolve().parents[2] / "tests" / "detectors" / "recorded"
COLUMNS = ("step", "loss", "grad_norm", "lr", "update_ratio")
WARM_UP = 50


@dataclass(frozen=True)
class Scenario:
    """One training. ``kind`` and ``onset`` say what goes wrong and from which step on; without, it is healthy."""

    name: str
    note: str
    kind: str = ""
    onset: int = 0
    end: int | None = None
    steps: int = 600
    seed: int = 1
    batch_size: int = 32
    peak_rate: float = 3e-3
    clip: float = 1.0
    rate_factor: Callable[[int], float] = lambda step: 1.0
    spoil: Callable[[int, Batch], Batch] = lambda step, batch: batch


def _slip(first: int, last: int) -> Callable[[int, Batch], Batch]:
    """Targets of the neighbouring row: valid tokens, and nonsense."""
    return lambda step, batch: (batch[0], batch[1].roll(1, dims=0)) if first <= step < last else batch


def _easier(first: int) -> Callable[[int, Batch], Batch]:
    """A new stage of a curriculum: every second row is a repetition of its first eight characters."""

    def ease(step: int, batch: Batch) -> Batch:
        inputs, targets = (part.clone() for part in batch)
        if step >= first:
            pattern = inputs[::2, :8]
            length = inputs.shape[1]
            repeated = pattern.repeat(1, length // 8 + 2)
            inputs[::2], targets[::2] = repeated[:, :length], repeated[:, 1 : length + 1]
        return inputs, targets

    return ease


def _from(onset: int, factor: float) -> Callable[[int], float]:
    return lambda step: factor if step >= onset else 1.0


SCENARIOS = (
    Scenario("healthy", "nothing goes wrong"),
    Scenario("healthy_noisy", "batches of 4: noise of a tenth of the loss", seed=2, batch_size=4, peak_rate=1e-3),
    Scenario("healthy_rate_drop", "the rate falls to a tenth at step 300", seed=3, rate_factor=_from(300, 0.1)),
    Scenario("healthy_curriculum", "easier data from step 300 on", seed=4, spoil=_easier(300)),
    Scenario("rate_times_32", "the rate is 32 times too high from step 300 on", "divergence", 300,
             rate_factor=_from(300, 32.0)),
    Scenario("rate_times_30_early", "the rate is 30 times too high from step 120 on", "divergence", 120, steps=300,
             seed=5, rate_factor=_from(120, 30.0)),
    Scenario("rate_times_30_noisy", "the rate is 30 times too high from step 400 on, batches of 4", "divergence", 400,
             seed=6, batch_size=4, peak_rate=1e-3, rate_factor=_from(400, 30.0)),
    Scenario("rate_grows", "the rate grows by 2 % a step from step 200 on", "divergence", 200, seed=7,
             rate_factor=lambda step: 1.02 ** max(0, step - 200)),
    Scenario("slipped_targets", "targets of the neighbouring row from step 450 to 569", "divergence", 450, 569,
             spoil=_slip(450, 570)),
    Scenario("one_bad_batch", "targets of the neighbouring row at step 300 alone", "spike", 300, 300, seed=8,
             spoil=_slip(300, 301)),
    Scenario("never_learns", "a rate so small that nothing is learnt", "plateau", 0, seed=9, peak_rate=1e-8),
    Scenario("overflow", "without clipping, the rate is 1e38 at step 300: NaN from then on", "nonfinite", 301,
             steps=360, seed=10, clip=math.inf, rate_factor=lambda step: 1e38 if step == 300 else 1.0),
)  # fmt: skip


def record(scenario: Scenario, corpus: Corpus) -> list[tuple[float, ...]]:
    """Train, and return a row of `COLUMNS` per step. The gradient norm is the one before clipping."""
    torch.manual_seed(scenario.seed)
    shape = Shape(vocabulary=VOCABULARY_SIZE)
    model = CharGPT(shape)
    optimizer = AdamW(model.parameters(), lr=scenario.peak_rate, betas=(0.9, 0.95), weight_decay=0.1)
    batches = BatchStream(corpus.training, seed=scenario.seed, batch_size=scenario.batch_size, context=shape.context)
    rows: list[tuple[float, ...]] = []
    for step in range(scenario.steps):
        cosine = 0.5 * (1 + math.cos(math.pi * step / scenario.steps))
        rate = scenario.peak_rate * min(1.0, (step + 1) / WARM_UP) * (0.1 + 0.9 * cosine) * scenario.rate_factor(step)
        optimizer.param_groups[0]["lr"] = rate
        loss = loss_of(model, *scenario.spoil(step, batches.at(step)))
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(model.parameters(), scenario.clip)
        before = _flat(model)
        optimizer.step()
        optimizer.zero_grad()
        ratio = (_flat(model) - before).norm() / before.norm()
        rows.append((step, loss.item(), norm.item(), rate, ratio.item()))
    return rows


def _flat(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def entry(scenario: Scenario) -> dict[str, object]:
    """The line of ``index.jsonl``."""
    last = scenario.steps - 1
    event = {
        "kind": scenario.kind,
        "start_step": scenario.onset,
        "end_step": last if scenario.end is None else scenario.end,
        "note": scenario.note,
    }
    return {
        "id": scenario.name,
        "repo": "trainguard",
        "domain": "recorded",
        "n_points": scenario.steps,
        "label": scenario.kind or "healthy",
        "note": scenario.note,
        "events": [event] if scenario.kind else [],
    }


def main() -> None:
    corpus = read_corpus()
    RECORDED.mkdir(parents=True, exist_ok=True)
    for scenario in SCENARIOS:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([f"{value:.7g}" for value in row] for row in record(scenario, corpus))
        # A fixed time in the header: the same curve is the same file.
        (RECORDED / f"{scenario.name}.csv.gz").write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
        print(scenario.name, flush=True)
    lines = "".join(json.dumps(entry(scenario)) + "\n" for scenario in SCENARIOS)
    (RECORDED / "index.jsonl").write_text(lines)


if __name__ == "__main__":
    main()
