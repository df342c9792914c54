"""From 0-dim tensors to numbers, without making the device wait."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/\-]{0,119}")


def as_number(name: str, value: Any) -> Tensor | float:
    """A user's number: a Python or numpy number as it is, a tensor of one element detached and 0-dim.

    Raises
    ------
    TypeError
        Where ``value`` is not one real number; the message names ``name``.
    """
    if type(value) is float:
        return value
    if isinstance(value, Tensor):
        if type(value) is not Tensor and hasattr(value, "placements"):
            return as_number(name, _whole(name, value))
        if value.numel() != 1 or value.is_complex():
            kind = "complex" if value.is_complex() else f"of shape {tuple(value.shape)}"
            raise TypeError(f"{name} is a tensor {kind}; pass one real number, for example {name}.mean()")
        return value.detach().reshape(())
    if isinstance(value, (float, int)):
        return _as_float(value)
    if getattr(value, "size", None) == 1 and hasattr(value, "item"):  # a numpy scalar or array of one element
        value = value.item()
    if isinstance(value, (str, bytes, complex)) or not hasattr(value, "__float__") or hasattr(value, "__len__"):
        raise TypeError(f"{name} is a {type(value).__name__}; pass one real number or a tensor of one element")
    return _as_float(value)


def _whole(name: str, value: Any) -> Tensor:
    """Of a DTensor the number that is on every rank; one that is spread would take a collective to read."""
    if not all(placement.is_replicate() for placement in value.placements):
        raise TypeError(f"{name} is a DTensor of which this rank has a part; pass {name}.full_tensor()")
    whole: Tensor = value.detach().to_local()
    return whole


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # a Python integer beyond the floats
        return math.inf if value > 0 else -math.inf


@lru_cache(maxsize=1024)
def checked_name(name: str) -> str:
    """``name`` if it can travel as a signal's name; a ``TypeError`` that says what can otherwise."""
    if not _NAME.fullmatch(name):
        raise TypeError(
            f"signal name {name[:150]!r} cannot be sent: begin with a letter or _, continue with letters, digits "
            "and _ . : / - only, at most 120 characters"
        )
    return name


class Reading:
    """The values of one step on their way to the host.

    What is on the CPU is a number at once. What is on CUDA is gathered into one tensor per device and copied to
    pinned memory without waiting; `ready` says whether it has arrived, which it has by the next step. ``values`` are
    kept as they are, not copied: nobody else may change them.
    """

    __slots__ = ("_coming", "values")

    def __init__(self, values: dict[str, Tensor | float]) -> None:
        self._coming: list[tuple[list[str], Tensor, Any]] = []
        for value in values.values():
            if type(value) is not float:
                break
        else:
            # Nothing to fetch where somebody's numbers are ready: a third of the time that sorting them takes.
            self.values: dict[str, float] = values  # type: ignore[assignment]
            return
        self.values = {}
        on_device: dict[torch.device, list[str]] = {}
        for name, value in values.items():
            if type(value) is float or not isinstance(value, Tensor):
                self.values[name] = value
            elif value.device.type == "cuda":
                self.values[name] = math.nan  # keeps the names in order; replaced on arrival
                on_device.setdefault(value.device, []).append(name)
            else:
                self.values[name] = float(value.item())
        for device, names in on_device.items():
            self._send(device, names, [_tensor(values[name]) for name in names])

    def _send(self, device: torch.device, names: list[str], tensors: list[Tensor]) -> None:
        gathered = torch.stack([tensor.detach().reshape(()).to(torch.float64) for tensor in tensors])
        # The host allocator keeps pinned memory for reuse, and frees none that a copy still writes to.
        pinned = torch.empty(len(names), dtype=torch.float64, pin_memory=True)
        pinned.copy_(gathered, non_blocking=True)
        event: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(device))
        self._coming.append((names, pinned, event))

    def ready(self) -> bool:
        """Whether every value can be read without waiting."""
        return not self._coming or all(event.query() for _, _, event in self._coming)

    def wait(self) -> dict[str, float]:
        """The values, in the order they were given; waits for the device only if they have not arrived."""
        if not self._coming:
            return self.values
        for names, pinned, event in self._coming:
            event.synchronize()
            self.values.update(zip(names, pinned.tolist()))
        self._coming.clear()
        return self.values


def _tensor(value: Tensor | float) -> Tensor:
    assert isinstance(value, Tensor)
    return value
