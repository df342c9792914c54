"""What is normal for one signal: a self-cleaning robust level and width, in constant memory.

The level is the median of the last few accepted points, short enough to follow the steep fall of a warm-up;
the width is the interquartile range of how far the accepted points lay from the level before each of them
(a robust identifier in the sense of Hampel, 1974), so a steady trend does not widen it. What lies far above is
*held* apart and never enters, so a spike poisons nothing; when held points go on for long, they are the new
normal and the baseline re-bases on them. Non-finite values never come near it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping
from statistics import median

from pydantic import JsonValue

from trainguard.detectors.snapshot import State, flag_in, number_in, numbers_in, whole_in
from trainguard.detectors.window import SlidingMedian

LARGEST = 1e300
"""Values are clamped here, so that differences of huge losses stay finite."""
LARGEST_Z = 1e9
IQR_TO_SIGMA = 0.7413
"""A normal distribution's standard deviation over its interquartile range."""
CALM_AFTER = 3
"""Points in the band in a row that end an excursion: one lucky point amid an explosion does not."""
TAIL_BLOCK = 32
TAIL_BLOCKS = 8
TAIL_CAP = 12.0
SAMPLE_EVERY = 32
SAMPLES = 16

_FLAGS = ("calm", "rebased")
_WHOLE = ("accepted", "calm_streak", "held", "tail_count")
_WINDOWS = ("recent", "deviations", "aside", "tails", "centers", "bands")
_NUMBERS = ("band", "center", "former_center", "peak_z", "rise", "scale", "z")


class Baseline:
    """Level (``center``) and robust one-sigma width (``band``) of one signal, and where a new value stands.

    After ``update(value)`` the attributes describe the value against the baseline *before* it: ``z`` is its
    distance from the center in bands (0 while there are fewer than ``minimum`` points), ``rise`` the same in
    the signal's own unit, ``held`` counts the points held apart in the excursion that is going on, ``calm``
    says that none is, and ``rebased`` that this very point made it adopt a new level.

    >>> baseline = Baseline()
    >>> for index in range(64):
    ...     baseline.update(2.0 + 0.1 * (index % 3))
    >>> baseline.update(9.0)
    >>> (round(baseline.center, 2), baseline.calm, baseline.z > 20)
    (2.1, False, True)
    >>> baseline.update(2.1)
    >>> round(baseline.center, 2), round(baseline.z, 2)
    (2.1, 0.0)
    """

    __slots__ = (
        *_FLAGS,
        *_WHOLE,
        *_NUMBERS,
        "_aside",
        "_bands",
        "_centers",
        "_deviations",
        "_least_band",
        "_recent",
        "_tails",
        "absolute_floor",
        "accept_z",
        "minimum",
        "rebase_after",
        "relative_floor",
        "smallest_rise",
    )

    def __init__(
        self,
        *,
        recent: int = 11,
        window: int = 48,
        minimum: int = 12,
        accept_z: float = 5.0,
        smallest_rise: float = 0.01,
        relative_floor: float = 1e-3,
        absolute_floor: float = 0.0,
        rebase_after: int = 32,
    ) -> None:
        """Set the shape of it.

        ``recent`` and ``window`` are the points behind the center and the band. A point is held apart when it
        lies both ``accept_z`` bands and ``smallest_rise`` of the center's size above. The band is at least
        ``relative_floor`` of the center's size and ``absolute_floor``. So many points as ``rebase_after``
        held in one excursion are a new level.
        """
        if minimum < 3:
            raise ValueError(f"minimum is {minimum}; a width needs at least 3 points")
        self.minimum = minimum
        self.accept_z = accept_z
        self.smallest_rise = smallest_rise
        self.relative_floor = relative_floor
        self.absolute_floor = absolute_floor
        self.rebase_after = rebase_after
        self._recent = SlidingMedian(recent)
        self._deviations = SlidingMedian(window)
        self.reset()

    def reset(self) -> None:
        """Back to knowing nothing."""
        self._recent.fill(())
        self._deviations.fill(())
        # Lists, whose oldest values are dropped by hand: a deque takes six times as much for so few.
        self._centers: list[float] = []
        self._bands: list[float] = []
        self._aside: list[float] = []
        self._tails: list[float] = []
        self.tail_count = 0
        self.accepted = 0
        self.scale = 0.0
        self._find_least_band()
        self.center = 0.0
        self.former_center = 0.0
        self.band = 0.0
        self.z = 0.0
        self.peak_z = 0.0
        self.rise = 0.0
        self.held = 0
        self.calm = True
        self.calm_streak = 0
        self.rebased = False

    @property
    def ready(self) -> bool:
        """Whether there are enough points to judge by."""
        return self.accepted >= self.minimum

    @property
    def tail(self) -> float:
        """How far isolated points lie out now and then: the second largest ``z`` of about 256 points, capped.

        Heavy-tailed noise throws single points out again and again; a detector asks for more than that. The
        second largest, so that one real spike does not make it deaf; capped, so that two do not either.
        """
        return sorted(self._tails)[-2] if len(self._tails) > 1 else 0.0

    @property
    def long_center(self) -> float:
        """The median center of the last 512 accepted points, sampled."""
        return median(self._centers) if self._centers else self.center

    @property
    def long_band(self) -> float:
        """The second largest band of the last 512 accepted points, sampled; 0.0 while there are no two.

        Noise comes in quiet and loud stretches (one class at chance, short batches); in a quiet one the loud one
        is still remembered.
        """
        return sorted(self._bands)[-2] if len(self._bands) > 1 else 0.0

    def update(self, value: float) -> None:
        """Take one finite value in."""
        # Two of these run at every point of every run: what happens at each is written out, what is rare is called.
        if not -LARGEST <= value <= LARGEST:
            value = LARGEST if value > 0 else -LARGEST
        self.rebased = False
        accepted = self.accepted
        if accepted < self.minimum:
            self._settle()
            self.z = self.rise = 0.0
            self._accept(value)
            if accepted + 1 == self.minimum:
                self.scale = abs(self._recent.median())
                self._find_least_band()
            return
        if self.calm:
            tails = self._tails
            if self.tail_count < TAIL_BLOCK and tails and self.z <= tails[-1]:
                self.tail_count += 1
            else:
                self._remember_tail(self.z)
        recent, deviations = self._recent, self._deviations
        newest, widths = recent.ordered, deviations.ordered
        count = len(newest)
        center = self.center = newest[count >> 1] if count & 1 else recent.median()
        count = len(widths)
        band = IQR_TO_SIGMA * (widths[(3 * count) // 4] - widths[count // 4]) * (1.0 + 4.0 / accepted)
        floor = self.relative_floor * abs(center)
        if floor < self._least_band:
            floor = self._least_band
        if band < floor:
            band = floor
        self.band = band
        rise = self.rise = value - center
        z = rise / band
        if not -LARGEST_Z <= z <= LARGEST_Z:
            z = LARGEST_Z if z > 0 else -LARGEST_Z
        self.z = z
        if z > self.accept_z and rise > self.smallest_rise * abs(center):
            self._hold(value)
            return
        order = deviations.order
        if len(order) == deviations.size:
            del widths[bisect_left(widths, order[0])]
        order.append(rise)
        insort(widths, rise)
        order = recent.order
        if len(order) == recent.size:
            del newest[bisect_left(newest, order[0])]
        order.append(value)
        insort(newest, value)
        if accepted % SAMPLE_EVERY == 0:
            self._sample()
        self.accepted = accepted + 1
        if not self.calm:
            self.calm_streak += 1
            if self.calm_streak >= CALM_AFTER:
                if self.held < CALM_AFTER:
                    self._remember_tail(self.peak_z)
                self.drop_excursion()

    def drop_excursion(self) -> None:
        """Forget the excursion that is going on; what was normal stays so."""
        self._aside.clear()
        self.held = 0
        self.peak_z = 0.0
        self.calm = True
        self.calm_streak = 0

    def _hold(self, value: float) -> None:
        self._aside.append(value)
        self.held += 1
        self.peak_z = max(self.peak_z, self.z)
        self.calm = False
        self.calm_streak = 0
        if self.held >= self.rebase_after:
            self._rebase()

    def _rebase(self) -> None:
        self.former_center = self.center
        values = list(self._aside)
        self._recent.fill(())
        self._deviations.fill(())
        self.accepted = 0
        for value in values:
            self._settle()
            self._accept(value)
        self._settle()
        self.drop_excursion()
        self.z = 0.0
        self.rebased = True

    def _settle(self) -> None:
        """Level and width by the points that were accepted; `update` does the same in its own words."""
        center = self.center = self._recent.median()
        # A width from few points is too small too often.
        band = IQR_TO_SIGMA * self._deviations.spread() * (1.0 + 4.0 / (self.accepted or 1))
        self.band = max(band, self.relative_floor * abs(center), self._least_band)

    def _find_least_band(self) -> None:
        self._least_band = max(self.absolute_floor, 1e-6 * self.scale, 1e-300)

    def _accept(self, value: float) -> None:
        accepted = self.accepted
        if accepted:
            self._deviations.push(value - self.center)
        self._recent.push(value)
        if accepted % SAMPLE_EVERY == 0:
            self._sample()
        self.accepted = accepted + 1

    def _sample(self) -> None:
        self._bands = [*self._bands, self.band][-SAMPLES:]
        self._centers = [*self._centers, self.center][-SAMPLES:]

    def _remember_tail(self, z: float) -> None:
        tails = self._tails
        self.tail_count += 1
        if self.tail_count > TAIL_BLOCK or not tails:
            tails = self._tails = [*tails, 0.0, 0.0][-2 * TAIL_BLOCKS :]
            self.tail_count = 1
        # The larger of the block's two stands first.
        if z <= tails[-1]:
            return
        z = min(z, TAIL_CAP)
        if z > tails[-2]:
            tails[-1] = tails[-2]
            tails[-2] = z
        elif z > tails[-1]:
            tails[-1] = z

    def state_dict(self) -> State:
        """All it remembers, as JSON."""
        state: State = {name: getattr(self, name) for name in (*_FLAGS, *_WHOLE, *_NUMBERS)}
        state["recent"] = [*self._recent.values()]
        state["deviations"] = [*self._deviations.values()]
        state["aside"] = list(self._aside)
        state["tails"] = list(self._tails)
        state["centers"] = list(self._centers)
        state["bands"] = list(self._bands)
        return state

    def load_state_dict(self, state: Mapping[str, JsonValue]) -> None:
        """Take a state back; ``ValueError`` names a field that is missing or damaged."""
        flags = {name: flag_in(state, name) for name in _FLAGS}
        whole = {name: whole_in(state, name) for name in _WHOLE}
        numbers = {name: number_in(state, name) for name in _NUMBERS}
        windows = [numbers_in(state, name) for name in _WINDOWS]
        for name in _FLAGS:
            setattr(self, name, flags[name])
        for name in _WHOLE:
            setattr(self, name, whole[name])
        for name in _NUMBERS:
            setattr(self, name, numbers[name])
        self._find_least_band()
        self._recent.fill(windows[0])
        self._deviations.fill(windows[1])
        self._aside = windows[2][-self.rebase_after :]
        self._tails = windows[3][-2 * TAIL_BLOCKS :]
        self._centers = windows[4][-SAMPLES:]
        self._bands = windows[5][-SAMPLES:]
