"""The same run at every sensitivity: what would have been found sooner, later, or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from trainguard.detectors import SENSITIVITIES
from trainguard.replay.past_run import PastRun
from trainguard.replay.replaying import PastIncident, Replay, Settings
from trainguard.replay.replaying import replay as replay_run
from trainguard.wire import DecisionReport


@dataclass(frozen=True)
class Alternative:
    """What one sensitivity would have made of a run."""

    sensitivity: str
    severities: Mapping[str, int]
    """Findings by severity."""
    incidents: tuple[PastIncident, ...]
    is_chosen: bool
    """Whether it is the one that the report is about."""

    @property
    def first_seen(self) -> int | None:
        """The step of the first incident; ``None`` where there was none."""
        return min((one.report.detected_step for one in self.incidents), default=None)

    @property
    def remedies(self) -> tuple[DecisionReport, ...]:
        """The first remedy of every incident that would have had one."""
        return tuple(act for one in self.incidents if (act := one.would_have_acted) is not None)


def what_if(chosen: Replay, progress: Callable[[int], None] | None = None) -> tuple[Alternative, ...]:
    """Replay ``chosen``'s run at the other sensitivities as well; overrides stay."""
    return tuple(
        _alternative(name, chosen)
        if name == chosen.settings.sensitivity
        else _alternative(name, _replayed(chosen.run, replace(chosen.settings, sensitivity=name), progress), chosen)
        for name in SENSITIVITIES
    )


def _replayed(run: PastRun, settings: Settings, progress: Callable[[int], None] | None) -> Replay:
    return replay_run(run, settings, progress)


def _alternative(name: str, result: Replay, chosen: Replay | None = None) -> Alternative:
    return Alternative(
        sensitivity=name,
        severities=Counter(finding.severity for finding in result.findings),
        incidents=tuple(result.incidents),
        is_chosen=chosen is None,
    )
