"""The eyes: pure streaming objects that say when a training goes wrong, and nothing about what to do.

One file per detector (`base.Detector`: one verb ``update``, state to JSON and back, bounded memory), one per
statistic they stand on (`baseline`, `drift`, `window`), the `watch` that computes the shared ones once, and
the `panel` that runs them all. No clock, no chance, no I/O, no numpy; only `trainguard.wire` is imported. To
add a detector, write its file and add its line to `table`: the contract suite under ``tests/contract`` finds
it there.
"""

from trainguard.detectors.base import SENSITIVITIES, Detector, Sensitivity
from trainguard.detectors.null import NullDetector
from trainguard.detectors.overrides import checked_overrides, usable_overrides
from trainguard.detectors.panel import Panel, build_detector, thresholds_of
from trainguard.detectors.table import DETECTORS
from trainguard.detectors.vitals import Vitals

__all__ = [
    "DETECTORS",
    "SENSITIVITIES",
    "Detector",
    "NullDetector",
    "Panel",
    "Sensitivity",
    "Vitals",
    "build_detector",
    "checked_overrides",
    "thresholds_of",
    "usable_overrides",
]
