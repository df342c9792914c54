"""The explicit table of detectors. One new detector is one new file and one line here."""

from trainguard.detectors.base import Detector
from trainguard.detectors.divergence import Divergence
from trainguard.detectors.grad_explosion import GradExplosion
from trainguard.detectors.loss_spike import LossSpike
from trainguard.detectors.non_finite import NonFinite
from trainguard.detectors.plateau import Plateau

DETECTORS: dict[str, type[Detector]] = {
    detector.name: detector for detector in (NonFinite, LossSpike, GradExplosion, Divergence, Plateau)
}
"""Every detector by its name, in the order in which their findings are told."""
