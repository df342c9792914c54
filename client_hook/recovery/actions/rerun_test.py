"""The re-run test, ordered from elsewhere: the loop's own function makes its latest batch again."""

from __future__ import annotations

from math import isfinite

from client_hook.recovery.actions.base import Action, Applied
from client_hook.recovery.training import Training
from client_hook.recovery.verification import checksum
from trainguard.wire import RerunTest


class RerunTestAction(Action[RerunTest]):
    """Only looks: what it finds is its answer. A function that cannot be used is a verdict too (``not run``)."""

    name = "rerun_test"

    def check(self, order: RerunTest, training: Training) -> str | None:
        """Refuses where the hook cannot know how a batch becomes a loss, and where ranks would wait for each other."""
        if training.world_size > 1:
            return "several ranks would not make the same passes; test one rank's batch in a single process"
        if training.rerun is None:
            return "the loop has given no function that makes its latest batch again; call hook.rerun_with(function)"
        return None

    def apply(self, order: RerunTest, training: Training) -> Applied:
        """At this boundary; raises, and so halts, where the parameters are not what they were before."""
        if training.rerun is None:
            raise RuntimeError("rerun_test was applied without its check")
        before = checksum(training.state.model)
        report = training.rerun(order.times)
        after = checksum(training.state.model)
        if after != before:
            raise RuntimeError("the parameters are not what they were before the re-run test")
        return Applied(
            f"re-run test: {report.verdict}. {report.sentence}".removesuffix("."),
            {
                "verdict": report.verdict,
                "losses": [_number(one.loss) for one in report.runs],
                "grad_norms": [_number(one.grad_norm) for one in report.runs],
                "repeats": len({one.checksum for one in report.runs}) == 1 if report.runs else None,
                "difference": None if report.difference is None else _number(report.difference),
                "older_step": report.older_step,
                "older_loss": None if report.older is None else _number(report.older.loss),
                "checksum": after,
            },
        )


def _number(value: float) -> float | str:
    """As it travels: JSON has no NaN."""
    if isfinite(value):
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
