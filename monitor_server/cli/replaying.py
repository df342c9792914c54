"""Judging logs of the past: read them with a progress bar, replay them, and show or write what came of it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from trainguard.detectors import DETECTORS, SENSITIVITIES, thresholds_of
from trainguard.replay import LogUnreadable, PastRun, Replay, Settings, logs_in, read_log, replay
from trainguard.replay.columns import KNOWN
from trainguard.replay.report import report
from trainguard.replay.tuning import Tuning, tune
from trainguard.replay.what_if import Alternative, what_if
from trainguard.wire import DecisionReport, Finding


class WrongOption(Exception):
    """An option says what cannot be meant; the message names it and the remedy."""


def settings_of(sensitivity: str, given: Sequence[str], checkpoint_every: int) -> Settings:
    """Settings from the options of the same names. Raises `WrongOption`."""
    if sensitivity not in SENSITIVITIES:
        raise WrongOption(f"--sensitivity {sensitivity!r} is unknown; use one of {', '.join(SENSITIVITIES)}")
    return Settings(sensitivity=sensitivity, overrides=overrides_of(given), checkpoint_every=checkpoint_every)


def columns_named(given: Sequence[str]) -> dict[str, str]:
    """``["loss=train/ce"]`` as a mapping. Raises `WrongOption`."""
    named: dict[str, str] = {}
    for option in given:
        signal, equals, column = option.partition("=")
        if not equals or not column or signal not in KNOWN:
            raise WrongOption(
                f"--column {option!r} names no column; write signal=column, as in loss=train/ce. "
                f"Signals: {', '.join(sorted(KNOWN))}"
            )
        named[signal] = column
    return named


def overrides_of(given: Sequence[str]) -> dict[str, dict[str, float]]:
    """``["loss_spike.z=9"]`` as thresholds by detector and name. Raises `WrongOption`."""
    overrides: dict[str, dict[str, float]] = {}
    for option in given:
        place, equals, value = option.partition("=")
        detector, _, threshold = place.partition(".")
        if detector not in DETECTORS:
            raise WrongOption(f"--set {option!r}: no detector {detector!r}; known are {', '.join(DETECTORS)}")
        known = thresholds_of(DETECTORS[detector])
        if threshold not in known:
            raise WrongOption(f"--set {option!r}: {detector} has no {threshold!r}; known are {', '.join(known)}")
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if not equals or not 0 < number < float("inf"):
            raise WrongOption(f"--set {option!r}: give a number above 0, as in {detector}.{threshold}=9")
        overrides.setdefault(detector, {})[threshold] = number
    return overrides


def read_runs(
    files: Sequence[str], named: dict[str, str], complain: Callable[[LogUnreadable], None]
) -> Iterator[PastRun]:
    """Every log that the files and folders hold; one that cannot be read is complained of, and the next is read."""
    for file in files:
        if file == "-" or Path(file).is_fifo():
            yield from _piped(file, named, complain)
            continue
        try:
            logs = logs_in(Path(file))
        except LogUnreadable as error:
            complain(error)
            continue
        for parts in logs:
            try:
                with _progress(f"reading {parts[0].name}") as told:
                    run = read_log(parts, named, told)
            except LogUnreadable as error:
                complain(error)
                continue
            yield run


def _piped(file: str, named: dict[str, str], complain: Callable[[LogUnreadable], None]) -> Iterator[PastRun]:
    """What comes out of a pipe, once: readers look at a log's beginning before they read it."""
    name = Path("standard input") if file == "-" else Path(file)
    with NamedTemporaryFile(prefix="trainguard-replay-") as copy:
        try:
            if file == "-":
                _pour(sys.stdin.buffer, copy)
            else:
                with name.open("rb") as pipe:
                    _pour(pipe, copy)
            with _progress(f"reading {name}") as told:
                run = read_log(Path(copy.name), named, told)
        except LogUnreadable as error:
            complain(LogUnreadable(name, error.why, error.place))
            return
        except OSError as error:
            complain(LogUnreadable(name, f"it cannot be read ({error.strerror or error})"))
            return
    run.path = name
    yield run


def _pour(source: IO[bytes], copy: IO[bytes]) -> None:
    shutil.copyfileobj(source, copy)
    copy.flush()


def judged(run: PastRun, settings: Settings) -> Replay:
    """The replay of one run, with a progress bar where it takes long and somebody looks."""
    with _progress(f"judging {run.path.name}", len(run)) as told:
        return replay(run, settings, told)


def alternatives(result: Replay) -> tuple[Alternative, ...]:
    """The same run at every sensitivity."""
    with _progress(f"what if, {result.run.path.name}", len(result.run)) as told:
        return what_if(result, told)


def tuned(runs: Sequence[PastRun], settings: Settings, *, are_healthy: bool, progress: Callable[[str], None]) -> Tuning:
    """Proposed thresholds; ``progress`` is told in words what is being done."""
    return tune(runs, settings, are_healthy=are_healthy, progress=lambda words: progress(escape(words)))


def write_report(out: Path, judged: Sequence[tuple[Replay, Sequence[Alternative]]]) -> None:
    """One HTML file, in place of whatever bore its name; half a report is never left there."""
    draft = out.with_name(f".{out.name}.part")
    draft.write_text(report(judged), encoding="utf-8")
    draft.replace(out)


@contextmanager
def _progress(words: str, total: int | None = None) -> Iterator[Callable[[int], None] | None]:
    """On standard error, so that what is printed can be piped; nothing at all where that is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    ends = (BarColumn(), TimeRemainingColumn()) if total else (MofNCompleteColumn(),)
    with Progress(*columns, *ends, console=console, transient=True) as bar:
        task = bar.add_task(escape(words), total=total)
        yield lambda done: bar.update(task, completed=done)


def print_findings(result: Replay, *, with_file: bool) -> None:
    """One JSON object per finding and line: ``step``, ``onset_step``, ``kind``, ``severity``, ``signal``,
    ``message``, and what more there is to say. NaN and the infinities are strings, as everywhere on our wire."""
    decisions = result.decisions_at()
    for finding in result.findings:
        decision = None if finding.severity == "info" else decisions.get((finding.attempt, finding.step))
        said = _as_json(finding, decision)
        print(json.dumps({**said, "file": str(result.run.path)} if with_file else said, ensure_ascii=False))


def _as_json(finding: Finding, decision: DecisionReport | None) -> dict[str, object]:
    said = json.loads(finding.model_dump_json())
    first = {name: said.pop(name) for name in ("step", "onset_step", "kind", "severity", "signal", "message")}
    decided = {"verdict": decision.verdict, "reason": decision.reason} if decision else None
    return {**first, **said, "decision": decided}
