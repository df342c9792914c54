"""From records to a past run: columns chosen, sparse rows of one step put together, restarts recognised."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path

from trainguard.replay.columns import KNOWN, STEP, choose
from trainguard.replay.errors import LogUnreadable
from trainguard.replay.numbers import number
from trainguard.replay.past_run import Column, PastRun
from trainguard.replay.readers import LogReader, Record, reader_of
from trainguard.wire.base import STEP_LIMIT

LOOKED_AT = 2_000
"""Records at whose columns one looks before choosing: evaluation may come late, training does not."""
TOLD_EVERY = 4_096
MOST_RESTARTS = 1_000
"""A log whose steps go back more often than this is not in order."""

EMPTY_AT_THE_END = 3
"""Records without a loss at the end of a log, from where on they are told of: a summary or two is usual."""

Progress = Callable[[int], None]


def read_log(
    path: Path | Sequence[Path], named: Mapping[str, str] | None = None, progress: Progress | None = None
) -> PastRun:
    """Read a log of any known format.

    Args:
        path: the file, or the parts of one run in their order, as `logs_in` gives them.
        named: columns by signal (``{"loss": "train/ce"}``), also for ``step``; the rest is guessed.
        progress: told every so often how many records were read.

    Raises:
        LogUnreadable: a sentence with the file, the place and the remedy.
    """
    parts = [path] if isinstance(path, Path) else list(path)
    return _Gathering(parts, reader_of(parts[0]), dict(named or {})).gather(progress)


class _Gathering:
    def __init__(self, parts: Sequence[Path], reader: LogReader, named: dict[str, str]) -> None:
        self._parts = parts
        self._path = parts[0]
        self._reader = reader
        self._named = named
        self._sources: dict[str, str] = {}
        self._run = PastRun(path=parts[0] if len(parts) == 1 else parts[0].parent, format=reader.name)
        self._run.sources = self._sources
        self._repeated = 0
        self._stepless = 0
        self._without_loss = 0
        self._longest_without_loss = 0

    def _records(self) -> Iterator[Record]:
        for part in self._parts:
            self._path = part
            yield from self._reader.records(part)

    def gather(self, progress: Progress | None) -> PastRun:
        records = self._records()
        first = list(islice(records, LOOKED_AT))
        if not first:
            raise LogUnreadable(self._path, "it holds no steps; give a log with at least one row of numbers")
        self._choose(first)
        for count, record in enumerate(chain(first, records), start=1):
            self._add(record, count)
            if progress is not None and count % TOLD_EVERY == 0:
                progress(count)
        self._finish()
        return self._run

    def _choose(self, records: list[Record]) -> None:
        names: dict[str, None] = {}
        for record in records:
            names.update(dict.fromkeys(record.cells))
        missing = [f"{signal}={column}" for signal, column in self._named.items() if column not in names]
        if missing:
            raise LogUnreadable(self._path, f"it has no column for {', '.join(missing)}; it has {_listed(names)}")
        unknown = [signal for signal in self._named if signal not in KNOWN]
        if unknown:
            known = ", ".join(sorted(KNOWN))
            raise LogUnreadable(self._path, f"{unknown[0]!r} is no signal to name a column for; known are {known}")
        if self._reader.names_are_ours:
            self._sources.update({name: name for name in names})
        for ending in (*self._reader.preferred, ""):
            better = [name for name in names if name.endswith(ending)]
            for signal, column in choose(better, {s: c for s, c in self._named.items() if c in better}).items():
                self._sources.setdefault(signal, column)
        if "loss" not in self._sources and "grad_norm" not in self._sources:
            raise LogUnreadable(
                self._path,
                f"no column looks like a loss; it has {_listed(names)}. Name it with --column loss=NAME",
            )
        self._run.columns = {signal: Column() for signal in self._sources if signal != STEP}
        self._read = [(signal, column) for signal, column in self._sources.items() if signal != STEP]
        self._step_column = self._sources.get(STEP)
        if self._step_column is None:
            self._run.notes.append("It has no column of steps: its rows are counted instead.")

    def _add(self, record: Record, count: int) -> None:
        cells = record.cells
        values: dict[str, float] = {}
        for signal, column in self._read:
            cell = cells.get(column)
            if cell is None:
                continue
            try:
                value = number(cell)
            except ValueError:
                raise self._wrong(record, f"{column} is {cell!r}, which is no number") from None
            if value is not None:
                values[signal] = value
        self._look_for_loss(cells, values)
        if not values:
            return
        step = count - 1 if self._step_column is None else self._step(record, cells.get(self._step_column))
        if step is None:
            self._stepless += 1
            return
        self._place(step, values, record)

    def _look_for_loss(self, cells: Mapping[str, object], values: Mapping[str, float]) -> None:
        """Count how long the loss has been a cell without a number: many a writer makes an empty one of a NaN."""
        if "loss" in values:
            self._longest_without_loss = max(self._longest_without_loss, self._without_loss)
            self._without_loss = 0
        elif self._sources.get("loss") in cells:
            self._without_loss += 1

    def _step(self, record: Record, cell: object) -> int | None:
        try:
            step = number(cell)
        except ValueError:
            raise self._wrong(record, f"the step is {cell!r}, which is no number") from None
        if step is None:
            return None
        if not 0 <= step < STEP_LIMIT:
            raise self._wrong(record, f"the step is {cell!r}; a whole number of at least 0 is wanted")
        return int(step)

    def _wrong(self, record: Record, what: str) -> LogUnreadable:
        remedy = "correct it, or name another column with --column"
        return LogUnreadable(self._path, f"{what}; {remedy}", f"{self._reader.unit} {record.place}")

    def _place(self, step: int, values: Mapping[str, float], record: Record) -> None:
        run = self._run
        if not run.steps or step > run.steps[-1]:
            self._append(step, values)
        elif step == run.steps[-1]:
            self._fill(len(run) - 1, values)
        elif all(step > self._last_step(signal) for signal in values):
            # A writer of its own may tell late: an evaluation of a step that lies behind.
            self._fill_late(step, values)
        else:
            run.attempts.append(len(run))
            if len(run.attempts) > MOST_RESTARTS and len(run.attempts) > len(run) // 20:
                raise self._wrong(record, f"the steps go back for the {MOST_RESTARTS}th time (to {step})")
            self._append(step, values)

    def _last_step(self, signal: str) -> int:
        """The last step of this attempt at which a signal was measured; -1 for none."""
        measured = self._run.columns[signal].measured
        index = measured.rfind(1, self._run.attempts[-1])
        return self._run.steps[index] if index >= 0 else -1

    def _append(self, step: int, values: Mapping[str, float]) -> None:
        self._run.steps.append(step)
        for signal, column in self._run.columns.items():
            value = values.get(signal)
            column.values.append(0.0 if value is None else value)
            column.measured.append(value is not None)

    def _fill(self, index: int, values: Mapping[str, float]) -> None:
        repeats = False
        for signal, value in values.items():
            column = self._run.columns[signal]
            repeats |= bool(column.measured[index])
            column.values[index] = value
            column.measured[index] = 1
        self._repeated += repeats

    def _fill_late(self, step: int, values: Mapping[str, float]) -> None:
        steps = self._run.steps
        index = bisect_left(steps, step, lo=self._run.attempts[-1])
        # Between two steps it belongs to the next one: nothing is invented for a step that was not logged.
        self._fill(index, values)

    def _finish(self) -> None:
        run = self._run
        if not run.steps:
            why = "it holds no number in the columns that were chosen: " + _told(self._sources)
            raise LogUnreadable(self._path, f"{why}; name others with --column")
        for signal in [name for name, column in run.columns.items() if not any(column.measured)]:
            del run.columns[signal]
        if self._without_loss >= EMPTY_AT_THE_END and self._without_loss > 4 * self._longest_without_loss:
            run.notes.append(
                f"In the last {self._without_loss} records '{self._sources['loss']}' is empty. JSON and pandas write "
                "NaN so; if it was NaN, the run was lost there: write the word NaN."
            )
        if self._stepless:
            run.notes.append(f"{self._stepless} records name no step and were passed over.")
        if self._repeated:
            run.notes.append(f"{self._repeated} records tell a step again that was told before; the last one counts.")
        if len(run.attempts) > 1:
            backs = len(run.attempts) - 1
            times = "once" if backs == 1 else f"{backs} times"
            run.notes.append(f"The steps go back {times}: read as a restarted run.")


def _listed(names: Mapping[str, None]) -> str:
    shown = [f"'{name}'" for name in list(names)[:20]]
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(shown) + more


def _told(sources: Mapping[str, str]) -> str:
    return ", ".join(f"{signal}={column}" for signal, column in sources.items())
