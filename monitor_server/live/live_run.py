"""One run's detectors in memory, and how they are brought back from the database."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from sqlalchemy import Connection

from monitor_server.live.lineage import lineage
from monitor_server.live.rolling import Rolling
from monitor_server.storage import RunRow, attempts, observations, snapshots
from monitor_server.storage.observations import Stretch
from trainguard import __version__
from trainguard.detectors import Panel, usable_overrides
from trainguard.wire import CheckpointReport, Finding, Observation

logger = logging.getLogger(__name__)

SNAPSHOT_EVERY = 1000
"""Observations between two snapshots: what a process that takes over has to replay at most, some 20 ms."""

REPLAY_AT_MOST = 50_000
"""Observations replayed where no snapshot helps. Detectors remember far less than that."""


@dataclass(slots=True)
class LiveRun:
    """Detectors that have seen every judged observation of ``attempt``'s lineage up to the last one."""

    run_id: UUID
    sensitivity: str
    version: int
    """The version of the runs row that this memory belongs to."""
    attempt: int
    last_step: int
    """The last step seen; -1 before the first."""
    panel: Panel
    overrides: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Thresholds that the run set for itself."""
    unsaved: int = 0
    """Observations seen since the latest snapshot."""
    checkpoints: Sequence[CheckpointReport] | None = None
    """The run's checkpoints at this version, where they were asked for."""
    rolling: Rolling | None = None
    """The open roll-ups, where an observation has come since this memory was made."""

    def see(self, rows: Iterable[Observation]) -> list[Finding]:
        """Show observations of this attempt to the detectors, in order; what they say."""
        findings: list[Finding] = []
        for row in rows:
            findings += self.panel.update(row)
            self.last_step = row.step
            self.unsaved += 1
        return findings

    def fresh_panel(self) -> Panel:
        """Detectors of this run that have seen nothing."""
        return Panel(sensitivity=self.sensitivity, overrides=self.overrides)

    @property
    def is_snapshot_due(self) -> bool:
        """Whether enough was seen since the last snapshot."""
        return self.unsaved >= SNAPSHOT_EVERY

    def snapshot(self) -> snapshots.PanelSnapshot:
        """The detectors as they are, to be saved by the caller."""
        self.unsaved = 0
        return snapshots.PanelSnapshot(self.attempt, self.last_step, __version__, self.panel.state_dict())


def recall(connection: Connection, run: RunRow) -> LiveRun:
    """The run's detectors as the database remembers them, up to the last step that ``run`` says was judged.

    Not further: what the caller's transaction has already recorded is still to be seen, and spoken of.
    """
    next_step = 0 if run.last_step is None else run.last_step + 1
    way = lineage(attempts.of_run(connection, run.run_id), run.attempt)
    way[-1] = replace(way[-1], before_step=next_step)
    sensitivity = str(run.description.get("sensitivity", "normal"))
    overrides = _overrides(run)
    panel = Panel(sensitivity=sensitivity, overrides=overrides)
    live = LiveRun(run.run_id, sensitivity, run.version, run.attempt, -1, panel, overrides)
    _replay(connection, live, way)
    live.last_step = next_step - 1
    return live


def _overrides(run: RunRow) -> Mapping[str, Mapping[str, float]]:
    given = run.description.get("detectors")
    if not given:
        return {}
    usable, unknown = usable_overrides(run.described().detectors)
    if unknown:
        logger.warning("run %s sets thresholds that are not known here: %s", run.run_id, ", ".join(unknown))
    return usable


def begin_attempt(connection: Connection, live: LiveRun, attempt: int, now: float) -> LiveRun:
    """The detectors rewound to where ``attempt`` begins: they go back with the model, incidents do not."""
    known = attempts.of_run(connection, live.run_id)
    start_step = next((one.start_step for one in known if one.attempt == attempt), live.last_step + 1)
    rewound = replace(live, attempt=attempt, last_step=-1, panel=live.fresh_panel(), unsaved=0)
    _replay(connection, rewound, [stretch for stretch in lineage(known, attempt) if stretch.attempt != attempt])
    rewound.last_step = start_step - 1
    snapshots.save(connection, rewound.run_id, rewound.snapshot(), now)
    return rewound


def _replay(connection: Connection, live: LiveRun, way: list[Stretch]) -> None:
    """Lead fresh detectors along ``way``: from the latest snapshot on it, or from its beginning."""
    for index in range(len(way) - 1, -1, -1):
        stretch = way[index]
        found = snapshots.latest_before(
            connection, live.run_id, stretch.attempt, stretch.before_step, code_version=__version__
        )
        if found is None:
            continue
        try:
            live.panel.load_state_dict(dict(found.state))
        except (KeyError, TypeError, ValueError) as error:
            logger.warning("run %s: a panel snapshot is unreadable, replaying instead: %s", live.run_id, error)
            live.panel = live.fresh_panel()
            continue
        way = [replace(stretch, from_step=found.step + 1), *way[index + 1 :]]
        break
    for stretch in way:
        live.see(observations.replay(connection, live.run_id, stretch, newest=REPLAY_AT_MOST))
