"""How a run is configured, as far as its description says: every answer may be "not known"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal, get_args

from pydantic import JsonValue

from trainguard.wire import RunDescription

Task = Literal["pre-training", "fine-tuning", "cnn"]
"""What published ranges are kept for; a run says it with the tag ``task``."""
TASKS: tuple[str, ...] = get_args(Task)

Family = Literal["adam", "sgd"]

_ADAM = ("Adam", "AdamW", "NAdam", "RAdam", "Adamax", "AdamW8bit", "Adam8bit", "PagedAdamW8bit", "FusedAdam")


@dataclass(frozen=True)
class Group:
    """One parameter group; ``None`` where the optimizer has no such option or did not say."""

    optimizer: str
    rate: float | None
    """The rate that a schedule works from (``initial_lr``), else the present one."""
    beta1: float | None
    beta2: float | None
    momentum: float | None
    weight_decay: float | None
    epsilon: float | None

    @property
    def family(self) -> Family | None:
        """Whose published ranges apply, if any are kept."""
        if self.optimizer in _ADAM:
            return "adam"
        return "sgd" if self.optimizer == "SGD" else None


@dataclass(frozen=True)
class SetUp:
    """What `client_hook.configuration` saw, typed. The JSON comes from outside: what is odd in it is not known.

    >>> from uuid import UUID
    >>> config = {"optimizers": [{"name": "SGD", "groups": [{"lr": 0.1, "momentum": "much"}]}], "schedulers": []}
    >>> seen = SetUp.of(RunDescription(run_id=UUID(int=1), run="x", started_at=0.0, config=config))
    >>> seen.groups[0].rate, seen.groups[0].momentum, seen.schedulers, seen.task
    (0.1, None, (), None)
    """

    groups: tuple[Group, ...] = ()
    schedulers: tuple[str, ...] | None = None
    scaler: str | None = None
    precisions: tuple[str, ...] = ()
    """Types of the parameters: ``float32``, ``bfloat16``, ``float16``."""
    parameters: int | None = None
    trainable_parameters: int | None = None
    unowned_parameters: tuple[str, ...] = ()
    """The first names of trainable parameters that no optimizer owns."""
    task: Task | None = None
    total_steps: int | None = None
    is_clipped: bool | None = None
    """Whether gradients are clipped by their norm; seen after fifty steps."""
    clip_norm: float | None = None
    """The limit, or the highest norm that was seen after clipping."""
    accumulation: int | None = None
    """Micro-batches per update, where the loop says so."""
    schedule_steps: float | None = None
    """Steps of the scheduler that is stepped most, per update."""

    @classmethod
    def of(cls, description: RunDescription | None, *, task: Task | None = None) -> SetUp:
        """Read a description; ``task`` goes before the one that the run's tag names."""
        if description is None:
            return cls(task=task)
        config = description.config
        tagged = description.tags.get("task")
        scaler = config.get("scaler")
        clipping = config.get("clipping")
        clipping = clipping if isinstance(clipping, dict) else {}
        is_clipped = clipping.get("seen")
        return cls(
            groups=tuple(_groups(config)),
            schedulers=_words(config.get("schedulers")),
            scaler=scaler if isinstance(scaler, str) else None,
            precisions=_words(config.get("parameter_types")) or (),
            parameters=_whole(config.get("parameters")),
            trainable_parameters=_whole(config.get("trainable_parameters")),
            unowned_parameters=_words(config.get("unowned_parameters")) or (),
            task=task or next((one for one in get_args(Task) if one == tagged), None),
            total_steps=description.total_steps,
            is_clipped=is_clipped if isinstance(is_clipped, bool) else None,
            clip_norm=_number(clipping.get("max_norm")),
            accumulation=_whole(config.get("accumulation")),
            schedule_steps=_number(config.get("schedule_steps_per_update")),
        )

    @property
    def is_adaptive(self) -> bool:
        """Whether an optimizer of Adam's family is at work."""
        return any(group.family == "adam" for group in self.groups)

    @property
    def is_half_precision(self) -> bool:
        """Whether float16 is at work: its parameters, or a scaler, which nothing else needs."""
        return "float16" in self.precisions or self.scaler is not None

    @property
    def highest_rate(self) -> float | None:
        """The highest rate among the groups."""
        return max((group.rate for group in self.groups if group.rate is not None), default=None)


def _groups(config: Mapping[str, JsonValue]) -> Iterator[Group]:
    for optimizer in _objects(config.get("optimizers")):
        name = optimizer.get("name")
        for group in _objects(optimizer.get("groups")):
            initial = _number(group.get("initial_lr"))
            yield Group(
                optimizer=name if isinstance(name, str) else "",
                rate=initial if initial is not None else _number(group.get("lr")),
                beta1=_number_at(group.get("betas"), 0),
                beta2=_number_at(group.get("betas"), 1),
                momentum=_number(group.get("momentum")),
                weight_decay=_number(group.get("weight_decay")),
                epsilon=_number(group.get("eps")),
            )


def _objects(value: JsonValue) -> list[Mapping[str, JsonValue]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _words(value: JsonValue) -> tuple[str, ...] | None:
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else None


def _number_at(value: JsonValue, index: int) -> float | None:
    return _number(value[index]) if isinstance(value, Sequence) and index < len(value) else None


def _number(value: JsonValue) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if isfinite(value) else None


def _whole(value: JsonValue) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
