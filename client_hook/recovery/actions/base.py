"""The shape of an action: it checks first and refuses with a sentence; then applies and says what changed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

from pydantic import JsonValue

from client_hook.recovery.training import Training
from trainguard.wire import WireModel

OrderT = TypeVar("OrderT", bound=WireModel)


@dataclass(frozen=True)
class Applied:
    """What an action changed, read back from the objects themselves."""

    sentence: str
    changes: dict[str, JsonValue] = field(default_factory=dict)


class Action(ABC, Generic[OrderT]):
    """Carries out one kind of order. One object per application: what ``check`` loads, ``apply`` uses."""

    name: ClassVar[str]

    @abstractmethod
    def check(self, order: OrderT, training: Training) -> str | None:
        """The reason to refuse, as a sentence, or ``None``. Touches nothing."""

    @abstractmethod
    def apply(self, order: OrderT, training: Training) -> Applied:
        """Do it. Called only after ``check`` of every order of the command was content."""
