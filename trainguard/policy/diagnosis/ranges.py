"""Published ranges of the learning rate, by optimizer and task."""

from __future__ import annotations

from dataclasses import dataclass

from trainguard.policy.diagnosis.set_up import Family, SetUp, Task


@dataclass(frozen=True)
class RateRange:
    """Peak rates that published recipes use; outside lies the unusual, not the impossible."""

    lowest: float
    highest: float
    source: str

    @property
    def words(self) -> str:
        """The range and where it is from."""
        return f"{self.lowest:g} to {self.highest:g} ({self.source})"


RATE_RANGES: dict[tuple[Family, Task | None], RateRange] = {
    ("adam", "pre-training"): RateRange(
        3e-5, 2e-3, "GPT-3, Chinchilla, Llama 3, OLMo 2: 6e-5 to 6e-4; small models more"
    ),
    ("adam", "fine-tuning"): RateRange(1e-6, 2e-4, "BERT 2e-5 to 5e-5, Llama 2 chat 2e-5, LoRA 2e-4"),
    ("adam", "cnn"): RateRange(1e-4, 5e-3, "ConvNeXt 4e-3, ResNet strikes back 5e-3 at large batch"),
    ("adam", None): RateRange(1e-6, 1e-2, "all published recipes together"),
    ("sgd", "pre-training"): RateRange(1e-3, 1.0, "language models are rarely trained with SGD"),
    ("sgd", "fine-tuning"): RateRange(1e-4, 1e-1, "Big Transfer 3e-3"),
    ("sgd", "cnn"): RateRange(1e-2, 1.0, "ResNet 0.1 at batch 256, linear with the batch size"),
    ("sgd", None): RateRange(1e-4, 1.0, "all published recipes together"),
}


def rate_range(set_up: SetUp) -> RateRange | None:
    """The range for the group with the highest rate; ``None`` for an optimizer whose ranges are not kept."""
    rated = [group for group in set_up.groups if group.rate is not None]
    if not rated:
        return None
    family = max(rated, key=lambda group: group.rate or 0.0).family
    return RATE_RANGES[family, set_up.task] if family else None
