"""The explicit table of detectors. One new detector is one new file and one line here."""

from trainguard.detectors.base import Detector
from trainguard.detectors.data_starvation import DataStarvation
from trainguard.detectors.dead_layers import DeadLayers
from trainguard.detectors.divergence import Divergence
from trainguard.detectors.grad_explosion import GradExplosion
from trainguard.detectors.grad_vanishing import GradVanishing
from trainguard.detectors.learning_rate import LearningRate
from trainguard.detectors.loss_scale_collapse import LossScaleCollapse
from trainguard.detectors.loss_spike import LossSpike
from trainguard.detectors.no_update import NoUpdate
from trainguard.detectors.non_finite import NonFinite
from trainguard.detectors.oscillation import Oscillation
from trainguard.detectors.overfitting import Overfitting
from trainguard.detectors.overheating import Overheating
from trainguard.detectors.plateau import Plateau
from trainguard.detectors.rank_disagreement import RankDisagreement
from trainguard.detectors.slow_step import SlowStep
from trainguard.detectors.update_ratio import UpdateRatio

DETECTORS: dict[str, type[Detector]] = {
    detector.name: detector
    for detector in (
        NonFinite,
        LossSpike,
        GradExplosion,
        Divergence,
        Overheating,
        LossScaleCollapse,
        LearningRate,
        UpdateRatio,
        NoUpdate,
        GradVanishing,
        DeadLayers,
        Oscillation,
        Plateau,
        Overfitting,
        RankDisagreement,
        SlowStep,
        DataStarvation,
    )
}
"""Every detector by its name, in the order in which their findings are told."""
