"""Labelled curves of real runs: ``index.jsonl`` and one ``<id>.csv.gz`` each.

Columns are ``step,loss,grad_norm,lr``, and ``update_ratio`` where we recorded it ourselves; empty where there is no
number.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainguard.wire import Observation

FIRST_SCORED_POINT = 25
"""Events that begin earlier are not scored: no rule knows by then what is normal."""
SHORTEST = 100
"""Curves of fewer points are not scored."""
SUDDEN = ("spike", "divergence", "nonfinite", "grad_explosion")
_SIGNALS = {"loss": "loss", "grad_norm": "grad_norm", "lr": "learning_rate", "update_ratio": "update_ratio"}


@dataclass(frozen=True)
class Event:
    """A labelled trouble; ``start`` and ``end`` are indices of points, both inside."""

    kind: str
    start: int
    end: int
    is_firm: bool

    @property
    def is_scored(self) -> bool:
        """Whether finding it counts."""
        return self.is_firm and self.kind in SUDDEN and self.start >= FIRST_SCORED_POINT


@dataclass(frozen=True)
class Curve:
    """One run: its observations and what a reader saw in them."""

    name: str
    group: str
    domain: str
    label: str
    observations: tuple[Observation, ...]
    events: tuple[Event, ...]

    @property
    def half(self) -> str:
        """``tuned`` for the half that thresholds were chosen on, ``held out`` for the other; by a hash of the name."""
        return ("tuned", "held out")[hashlib.sha256(self.name.encode()).digest()[0] & 1]


def read_curves(folder: Path) -> list[Curve]:
    """All curves of ``folder`` that are scored: long enough and not ambiguous as a whole."""
    entries = [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines() if line.strip()]
    return [_curve(folder, entry) for entry in entries if entry["n_points"] >= SHORTEST and not entry.get("ambiguous")]


def _curve(folder: Path, entry: dict[str, Any]) -> Curve:
    with gzip.open(folder / f"{entry['id']}.csv.gz", "rt", newline="") as file:
        observations = tuple(_observation(row) for row in csv.DictReader(file))
    steps = [observation.step for observation in observations]
    return Curve(
        name=entry["id"],
        group=entry.get("group") or entry["repo"],
        domain=entry["domain"],
        label=entry["label"],
        observations=observations,
        events=tuple(_event(event, steps) for event in entry["events"]),
    )


def _observation(row: dict[str, str]) -> Observation:
    signals = {name: float(row[column]) for column, name in _SIGNALS.items() if row.get(column)}
    return Observation(attempt=0, step=int(float(row["step"])), observed_at=0.0, signals=signals)


def _event(event: dict[str, Any], steps: list[int]) -> Event:
    last = len(steps) - 1
    start = next((index for index, step in enumerate(steps) if step >= event["start_step"]), last)
    end = max((index for index, step in enumerate(steps) if step <= event["end_step"]), default=start)
    return Event(event["kind"], start, max(start, end), not event.get("ambiguous", False))
