"""Six ways to meet a fault, by the name under which they are reported. A new one is one file and a line here.

The published rules are written anew from their description, as in `benchmarks.detection.peers`.
"""

from benchmarks.recovery.strategies.base import Account, Deed, Strategy
from benchmarks.recovery.strategies.clipping import ClipAtOne, ZClip
from benchmarks.recovery.strategies.nothing import Nothing
from benchmarks.recovery.strategies.ours import Ours
from benchmarks.recovery.strategies.reload import ReloadOnNaN
from benchmarks.recovery.strategies.skip_step import SkipStep

OURS = "trainguard"

STRATEGIES: dict[str, type[Strategy]] = {
    "none": Nothing,
    "clip at 1.0": ClipAtOne,
    "ZClip": ZClip,
    "OLMo-core skip-step": SkipStep,
    "reload on NaN": ReloadOnNaN,
    OURS: Ours,
}

__all__ = ["OURS", "STRATEGIES", "Account", "Deed", "Strategy"]
