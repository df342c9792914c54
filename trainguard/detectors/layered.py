"""What holds for a layer at one look after another; layers are looked at every so many steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from pydantic import JsonValue

from trainguard.detectors.snapshot import State, list_in, mapping_in, whole_in

APART = 8
"""Steps that two looks must lie apart to count as two: after a finding, layers are looked at in quick succession."""
MOST = 64
"""Layers that are followed; the hook sends at most 48."""
NAMED = 3


ByPlace = dict[str, dict[str, float]]
"""By kind of signal, and then by layer or rank."""


def by_place(signals: Mapping[str, float], slashed: Sequence[str]) -> tuple[ByPlace, ByPlace]:
    """What was measured of layers, and what of ranks; ``slashed`` are the names of the signals that have a place.

    >>> by_place({"grad_norm/h.0": 1.0, "zero_grads/h.0": 0.5, "loss/rank1": 2.0, "loss": 2.0},
    ...          ["grad_norm/h.0", "zero_grads/h.0", "loss/rank1"])
    ({'grad_norm': {'h.0': 1.0}, 'zero_grads': {'h.0': 0.5}}, {'loss': {'rank1': 2.0}})
    """
    layers: ByPlace = {}
    ranks: ByPlace = {}
    for name in slashed:
        kind, place, of_rank = _parted(name)
        found = ranks if of_rank else layers
        if kind in found:
            found[kind][place] = signals[name]
        else:
            found[kind] = {place: signals[name]}
    return layers, ranks


@lru_cache(maxsize=4096)
def _parted(name: str) -> tuple[str, str, bool]:
    """Kind, place, and whether that is a rank: the same hundred names come again and again, in every run."""
    kind, _, place = name.partition("/")
    return kind, place, is_rank(place)


def is_rank(part: str) -> bool:
    """Whether ``loss/<part>`` belongs to a process and not to a layer.

    >>> is_rank("rank12"), is_rank("rank_embedding")
    (True, False)
    """
    return part.startswith("rank") and part[4:].isdigit()


class LayerCounts:
    """Counts for each layer the looks in a row at which something held, and remembers which were told.

    >>> counts = LayerCounts()
    >>> [counts.look(step, ["h.0"], 3) for step in (49, 99, 149, 199)], counts.onset
    ([[], [], ['h.0'], []], 49)
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Back to nothing."""
        self._counts: dict[str, int] = {}
        self._since: dict[str, int] = {}
        self._told: set[str] = set()
        self._last = -APART
        self.onset = 0
        """The step at which the first of those that `look` gave last began."""

    def look(self, step: int, layers: Sequence[str], needed: float) -> list[str]:
        """Take one look: ``layers`` are those for which it holds. Those that are to be told now, each only once."""
        if step < self._last:
            # A rollback: those looks come again.
            self._counts, self._since = {}, {}
            self._told.clear()
        elif step - self._last < APART:
            return []
        self._last = step
        self._counts = {layer: self._counts.get(layer, 0) + 1 for layer in layers[:MOST]}
        self._since = {layer: self._since.get(layer, step) for layer in self._counts}
        self._told &= self._counts.keys()
        due = [layer for layer, count in self._counts.items() if count >= needed and layer not in self._told]
        self._told.update(due)
        if due:
            self.onset = min(self._since[layer] for layer in due)
        return due

    @staticmethod
    def named(layers: Sequence[str]) -> str:
        """The layers as the subject of a sentence in the singular.

        >>> LayerCounts.named(["a"]), LayerCounts.named(["a", "b", "c", "d"])
        ('Layer a', 'Each of 4 layers (a, b, c, …)')
        """
        if len(layers) == 1:
            return f"Layer {layers[0]}"
        return f"Each of {len(layers)} layers ({', '.join(layers[:NAMED])}{', …' if len(layers) > NAMED else ''})"

    def state_dict(self) -> State:
        """All it remembers, as JSON."""
        return {
            "counts": {**self._counts},
            "since": {**self._since},
            "told": [*sorted(self._told)],
            "last": self._last,
            "onset": self.onset,
        }

    def load_state_dict(self, state: Mapping[str, JsonValue]) -> None:
        """Take a state back; ``ValueError`` names a field that is missing or damaged."""
        counts, since = mapping_in(state, "counts"), mapping_in(state, "since")
        told = {str(layer) for layer in list_in(state, "told")}
        last, onset = whole_in(state, "last"), whole_in(state, "onset")
        self._counts = {layer: whole_in(counts, layer) for layer in counts}
        self._since = {layer: whole_in(since, layer) for layer in since}
        self._told, self._last, self.onset = told, last, onset
