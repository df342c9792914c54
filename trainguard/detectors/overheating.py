"""The parameters swell as the rate rises, and the loss has nothing of it."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from math import log
from typing import ClassVar, NamedTuple

from pydantic import JsonValue

from trainguard.detectors.base import Detector
from trainguard.detectors.snapshot import State, flag_in, numbers_in, optional_number_in, whole_in
from trainguard.detectors.watch import Watch
from trainguard.wire import Finding, FindingKind

BLOCK = 8
"""Points behind one number."""
REMEMBERED = 32
"""Blocks."""
WITHIN = 16
"""Blocks over which the parameters must have swollen. A norm that creeps up over a whole run is how runs are."""
WIDTH = 2
"""Blocks that make a level of the loss."""
LEARNT = 0.1
"""Share of its first level by which the loss must have fallen once: before that there is nothing to lose."""
RISING = 1.001
"""What a rate gains from block to block while it rises, at least."""
SETTLED = 4
"""Blocks before a rise from which on it began at a rate that the run had learnt at."""
AT_ONCE = 0.75
"""Share of the growth (of its logarithm) that a single block may have made: more of it is a jump."""
WITH_RATE = 0.9
"""Share of the rate's rise that is in the block of a jump and the one before, where the rate jumped too."""
TESTED = 0.1
"""Of the rate at which the loss was lowest in a rise that ended badly, what is safe to train at."""
LARGEST = 1e100


class Block(NamedTuple):
    """Eight points: their median loss; of the last one the step, the norm of the parameters and the applied rate."""

    step: float
    loss: float
    norm: float
    rate: float


FIELDS = len(Block._fields)
NORM = Block._fields.index("norm")


class Overheating(Detector):
    """The norm of the parameters grew by half, the rate too, and the loss is no better than before they did.

    A rate that is too high need not make the loss rise. Adam's steps are as long as the rate says, whatever the
    gradient: above what the curvature bears they no longer lead downhill but to and fro, the norm of the parameters
    grows as that of a random walk does, and the loss stands where no healthy twin shows how low it could be. The norm
    betrays it: what is learnt hardly moves it (a tenth in the first hundred steps of a GPT, which it tripled at twenty
    times the rate). Under SGD with momentum the same comes before the loss is back at chance. Three things are asked
    for together, over at most 128 points: the norm is ``growth`` times as large, the rate ``raised`` times as high,
    and the loss not down by a share of ``gain``; and a norm that jumps without the rate was hit by something
    else. The loss must have fallen by a tenth since the beginning, so that one which never moved is no case for it.

    It says also which rate was good (``learning_rate_good``), so that one cut is enough: the one from which the rise
    began, where the run had learnt before it. Where the rate has only ever risen, the warm-up was a range test that
    nobody meant to make, and the rule for those holds: a tenth of the rate at which the loss was lowest (Smith 2017,
    arXiv:1506.01186; the finder of fastai).

    `Divergence` is the better choice for a loss that rises, `UpdateRatio` for a step that the rate does not explain.

    >>> from trainguard.wire import Observation
    >>> detector, found = Overheating(), []
    >>> for step in range(160):
    ...     signals = {"loss": max(2.5, 4.0 - 0.03 * step), "param_norm": 10.0, "learning_rate": 0.001}
    ...     if step >= 100:
    ...         signals |= {"param_norm": 10.0 + 0.3 * (step - 100), "learning_rate": 0.001 * 1.05 ** (step - 100)}
    ...     found.append(detector.update(Observation(0, step, 0.0, signals)))
    >>> [(one.step, one.onset_step, one.evidence["learning_rate_good"]) for one in found if one]
    [(119, 103, 0.001)]
    """

    name: ClassVar[str] = "overheating"
    kind: ClassVar[FindingKind] = "divergence"
    needs: ClassVar[str] = "param_norm"

    def __init__(
        self, *, sensitivity: str = "normal", growth: float = 1.5, raised: float = 1.5, gain: float = 0.03
    ) -> None:
        super().__init__(sensitivity=sensitivity)
        self.growth = self._threshold("growth", growth)
        self.raised = self._threshold("raised", raised)
        self.gain = self._threshold("gain", gain)
        self._swollen = 1 + max(0.0, self.growth - 1) * self.strictness
        self._hotter = 1 + max(0.0, self.raised - 1) * self.strictness

    def _reset(self) -> None:
        self._points = 0
        # Flat and packed: every run has these, and tuples of floats would be six times as large.
        self._blocks = array("d")
        self._first: float | None = None
        self._told = False

    def judge(self, watch: Watch) -> Finding | None:
        """See `Detector.judge`."""
        if watch.resumed:
            self._rewind(watch.step)
        self._points += 1
        if self._points < BLOCK:
            return None
        # The watch keeps the last eight losses anyway.
        losses = sorted([loss for loss in watch.levels if loss is not None])
        norm, rate = watch.signals.get("param_norm", 0.0), watch.rate
        if not 0 < norm < LARGEST or rate is None or len(losses) < BLOCK // 2:
            return None
        self._points = 0
        middle = 0.5 * (losses[(len(losses) - 1) // 2] + losses[len(losses) // 2])
        level = min(max(middle, -LARGEST), LARGEST)
        blocks = self._blocks
        blocks.extend((watch.step, level, norm, min(rate, LARGEST)))
        if self._first is None:
            self._first = level
        if len(blocks) > FIELDS * REMEMBERED:
            del blocks[:FIELDS]
        # The norm alone is hardly ever so, and far cheaper to see than the rest.
        since = max(0, len(blocks) - FIELDS * (WITHIN + 2 * WIDTH))
        if min(blocks[since + NORM :: FIELDS]) > norm / self._swollen:
            self._told = False
            return None
        return self._look(watch)

    def _rewind(self, step: int) -> None:
        """Forget what an abandoned branch made."""
        kept = [block for block in self._remembered() if block.step < step]
        self._blocks = array("d", [number for block in kept for number in block])
        self._points = 0
        self._told = False

    def _remembered(self) -> list[Block]:
        numbers = iter(self._blocks)
        return [Block(*four) for four in zip(numbers, numbers, numbers, numbers)]

    def _look(self, watch: Watch) -> Finding | None:
        blocks = self._remembered()
        first = blocks[0].loss if self._first is None else self._first
        then = self._before_it_grew(blocks)
        if then is None:
            self._told = False
            return None
        if self._told or min(one.loss for one in blocks) > first - LEARNT * abs(first):
            return None
        self._told = True
        before, newest = blocks[then], blocks[-1]
        level, now = _level(blocks, then), _level(blocks, len(blocks) - WIDTH)
        good = self._last_good(blocks, then)
        return self._finding(
            watch,
            "critical",
            f"The parameters have swollen from a norm of {before.norm:.4g} to {newest.norm:.4g} since step "
            f"{before.step:.0f}, as the rate rose from {before.rate:.3g} to {newest.rate:.3g}, and the loss has gained "
            f"nothing by it: {level:.4g} then, {now:.4g} now.",
            onset=int(blocks[good].step),
            value=watch.loss_value,
            evidence={
                "loss_before": _level(blocks, max(then, good - WIDTH + 1)),
                "param_norm_before": before.norm,
                "param_norm_at": newest.norm,
                "learning_rate_before": before.rate,
                "learning_rate_at": newest.rate,
                "learning_rate_good": _good_rate(blocks, then),
            },
        )

    def _before_it_grew(self, blocks: Sequence[Block]) -> int | None:
        """The last block that was smaller and cooler than the newest by as much as it takes, and no worse."""
        newest, last = blocks[-1], len(blocks) - 2 * WIDTH
        small = newest.norm / self._swollen
        slow = newest.rate / self._hotter
        for index in range(last, max(-1, last - WITHIN), -1):
            block = blocks[index]
            if block.norm <= small and block.rate <= slow:
                level, now = _level(blocks, index), _level(blocks, len(blocks) - WIDTH)
                if now >= level - self.gain / self.strictness * abs(level) and _is_growth(blocks, index):
                    return index
        return None

    def _last_good(self, blocks: Sequence[Block], then: int) -> int:
        """The last block up to which the loss was as good as ever and the norm had done less than half of its growth.

        Where it took to be sure says too little of where it began: a run that was still learning at twice its good
        rate would be thrown back by fifty steps more.
        """
        half = blocks[-1].norm / self._swollen**0.5
        known = [index for index in range(then, len(blocks) - WIDTH + 1) if blocks[index + WIDTH - 1].norm <= half]
        levels = {index: _level(blocks, index) for index in known}
        lowest = min(levels.values(), default=0.0)
        good = [index for index in known if levels[index] <= lowest + self.gain * abs(lowest)]
        return good[-1] + WIDTH - 1 if good else then

    def memory(self) -> State:
        """See `Detector.memory`."""
        return {
            "points": self._points,
            "blocks": [*self._blocks],
            "first": self._first,
            "told": self._told,
        }

    def load_memory(self, state: Mapping[str, JsonValue]) -> None:
        """See `Detector.load_memory`."""
        points, blocks = whole_in(state, "points"), numbers_in(state, "blocks")
        if len(blocks) % FIELDS:
            raise ValueError(f"field 'blocks' of the saved state holds {len(blocks)} numbers, not four for each block")
        self._first, self._told = optional_number_in(state, "first"), flag_in(state, "told")
        self._points, self._blocks = points, array("d", blocks)


def _is_growth(blocks: Sequence[Block], then: int) -> bool:
    """Whether the norm grew from block to block, or jumped with the rate.

    One that jumped while the rate did what it does was hit (bad data, a flipped bit), whatever the rate.
    """
    first, newest = blocks[then], blocks[-1]
    after = max(range(then + 1, len(blocks)), key=lambda index: blocks[index].norm / blocks[index - 1].norm)
    jump = blocks[after].norm / blocks[after - 1].norm
    if log(jump) <= AT_ONCE * log(newest.norm / first.norm):
        return True
    # A rate that jumped at a block's last step shows in the norm of the next one, so that both blocks' rise counts.
    before = blocks[max(then, after - 2)].rate
    return blocks[after].rate - before > WITH_RATE * (newest.rate - first.rate)


def _level(blocks: Sequence[Block], first: int) -> float:
    return sum(block.loss for block in blocks[first : first + WIDTH]) / WIDTH


def _good_rate(blocks: Sequence[Block], then: int) -> float:
    start = max(range(then, len(blocks)), key=lambda index: blocks[index].rate)
    while start and blocks[start - 1].rate * RISING < blocks[start].rate:
        start -= 1
    if start >= SETTLED:
        return blocks[start].rate
    return TESTED * min(blocks, key=lambda block: block.loss).rate
