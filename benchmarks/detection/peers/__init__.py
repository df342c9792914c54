"""Rules that other projects ship, written anew from their description, so that all see the same points.

A rule is an object with ``update(observation) -> bool``, made for a run of ``total`` points. They are rebuilt with
their weaknesses: where a project lets a spike or a NaN enter its window, so does the rule here.
"""

from benchmarks.detection.peers.change import Adwin, NaiveRobust, PageHinkley, Patience
from benchmarks.detection.peers.ratio import AxLearnSkip, FlagScale, InternEvo, Megatron, Metaseq, ZClipAlarm
from benchmarks.detection.peers.rule import Rule
from benchmarks.detection.peers.window import (
    KillLossSpike,
    LightningSpike,
    OlmoMonitor,
    OlmoSkipStep,
    OlmoSpikeScore,
    WandbZScore,
)

PEERS: dict[str, type[Rule]] = {
    "OLMo-core stability monitor": OlmoMonitor,
    "OLMo-core skip-step (Levanter, MaxText)": OlmoSkipStep,
    "OLMo 2 spike score": OlmoSpikeScore,
    "llm-foundry KillLossSpike": KillLossSpike,
    "Lightning SpikeDetection": LightningSpike,
    "Megatron spiky loss": Megatron,
    "metaseq (OPT)": Metaseq,
    "ZClip used as an alarm": ZClipAlarm,
    "AXLearn skip": AxLearnSkip,
    "InternEvo": InternEvo,
    "FlagScale": FlagScale,
    "W&B z-score automation": WandbZScore,
    "ADWIN": Adwin,
    "Page-Hinkley": PageHinkley,
    "patience (EarlyStopping)": Patience,
    "naive: median/IQR": NaiveRobust,
}
"""Every rule by the name under which it is reported."""

__all__ = ["PEERS", "Rule"]
