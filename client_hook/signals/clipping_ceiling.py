"""Recognises a gradient norm that was only seen after clipping."""

from __future__ import annotations

import math
from collections import deque


class ClippingCeiling:
    """Says whether norms sit under a ceiling, as they do when ``clip_grad_norm_`` ran before we looked.

    Clipping leaves a sharp edge that nothing else leaves: every clipped step has the very same norm
    (``max_norm * n / (n + 1e-6)``), and none lies above. Recognised are ``sightings`` norms of the last
    ``window`` within 0.1 % of the largest, where either that largest is a number that people choose (two
    significant digits: 1.0, 0.5, 0.25) or twice as many agree within 0.001 %.

    How sure it is: a ceiling that is hit is recognised at its third step (at its sixth where the limit is an
    odd number); until then the norms carry the name of an unclipped one. A norm that never reaches the
    ceiling was not clipped, so its name is right. Wrong the other way it can be for gradients that do not
    change at all from step to step (a linear loss, full-batch training at a standstill). Clipping by value
    leaves no edge in the norm and is not seen. To be certain, use ``hook.clip_grad_norm_`` or pass
    ``observe(loss, grad_norm=norm)``.

    >>> ceiling = ClippingCeiling()
    >>> [ceiling.saw(norm) for norm in (0.4, 1.0, 0.7, 0.9999999, 1.0, 0.6, 1.0)]
    [False, False, False, False, True, True, True]
    >>> ceiling.saw(1.3)
    False
    """

    TOLERANCE = 1e-3
    EXACT = 1e-5

    def __init__(self, window: int = 64, sightings: int = 3) -> None:
        self._recent: deque[float] = deque(maxlen=window)
        self._sightings = sightings
        self._limit: float | None = None

    def saw(self, norm: float) -> bool:
        """Take the next norm; true where norms are believed to be clipped. Non-finite norms say nothing."""
        if not math.isfinite(norm) or norm <= 0.0:
            return self._limit is not None
        if self._limit is not None:
            if norm <= self._limit * (1 + self.TOLERANCE):
                return True
            # Above the ceiling: it was raised, or there never was one. Begin again.
            self._limit = None
            self._recent.clear()
        self._recent.append(norm)
        highest = max(self._recent)
        near = sum(highest - other < self.TOLERANCE * highest for other in self._recent)
        if near < self._sightings:
            return False
        exact = sum(highest - other < self.EXACT * highest for other in self._recent)
        if self._is_chosen(highest) or exact >= 2 * self._sightings:
            self._limit = highest
        return self._limit is not None

    def _is_chosen(self, norm: float) -> bool:
        rounded = float(f"{norm:.1e}")
        return abs(rounded - norm) < 1e-4 * norm
