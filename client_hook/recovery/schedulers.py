"""Learning-rate schedulers: what they hold, and how often they have advanced."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from client_hook.recovery.tensor_trees import clone_tree


@runtime_checkable
class HasStateDict(Protocol):
    """Anything that can say its state and take it back: a scheduler, an EMA, a sampler, a metric."""

    def state_dict(self) -> Any:
        """The state, as tensors, numbers, strings, lists and dictionaries."""

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Take the state back."""


def capture_scheduler(scheduler: HasStateDict) -> dict[str, Any]:
    """A copy of its state; functions are left out, as LambdaLR itself leaves out its lambdas."""
    values = clone_tree(_without_functions(scheduler.state_dict()), None)
    return {"class": type(scheduler).__name__, "values": values, "advanced": times_advanced(scheduler)}


def restore_scheduler(scheduler: HasStateDict, stored: dict[str, Any]) -> None:
    """Give ``scheduler`` a copy of its stored state: it keeps, and changes, the lists it is given."""
    scheduler.load_state_dict(clone_tree(stored["values"], None))


def times_advanced(scheduler: object) -> int | None:
    """How often ``step()`` was called on it; ``None`` for one that does not count.

    A chained scheduler keeps no count of its own; its parts do.
    """
    for name in ("last_epoch", "_step_count"):
        count = getattr(scheduler, name, None)
        if isinstance(count, int):
            return count
    parts = getattr(scheduler, "_schedulers", None)
    return times_advanced(parts[0]) if isinstance(parts, (list, tuple)) and parts else None


def _without_functions(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_functions(item) for key, item in value.items() if not _is_function(item)}
    if type(value) in (list, tuple):
        # In a list the place counts, so a function there stays and the rehearsal names it.
        return type(value)(_without_functions(item) for item in value)
    return value


def _is_function(value: object) -> bool:
    return callable(value) and not isinstance(value, type) and not hasattr(value, "shape")
