"""Roll up: the new observations go into buckets, so that a chart of a long run need not read them all."""

from __future__ import annotations

from itertools import groupby

from monitor_server.live import Rolling
from monitor_server.pipeline.case import Bench, Case
from monitor_server.storage import rollups
from trainguard.wire import ObservationBlock


def roll_up(case: Case, bench: Bench) -> Case:
    """Sum up what is fresh, and sum up again what came late into buckets that were closed already."""
    assert case.live is not None, "detect comes before roll_up"
    live, run = case.live, case.run
    for attempt, rows in groupby(case.late, key=lambda row: row.attempt):
        rollups.rebuild(bench.connection, run.run_id, attempt, [row.step for row in rows])
        if live.rolling is not None and live.rolling.attempt == attempt:
            live.rolling = None
    for block in _blocks(case, bench):
        rolling = live.rolling
        if rolling is None or rolling.attempt != block.attempt:
            seen = -1 if run.last_step is None or block.attempt != run.attempt else run.last_step
            rolling = live.rolling = Rolling.recall(bench.connection, run.run_id, block.attempt, seen)
        for row in rolling.see(block.steps, block.signals):
            if rolling.is_written(row):
                bench.ledger.later(rollups.replace, [row])
            else:
                bench.ledger.rollups.append(row)
    return case


def _blocks(case: Case, bench: Bench) -> list[ObservationBlock]:
    if bench.is_together:
        return case.envelope.blocks
    fresh = groupby(case.fresh, key=lambda row: row.attempt)
    return [ObservationBlock.from_rows(list(rows)) for _, rows in fresh]
