"""The random streams that a training draws from: python, numpy, torch on the CPU and on every accelerator device.

Nothing here draws a number, imports numpy, or wakes an accelerator up.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import random
import sys
from typing import Any

import torch
from torch import Tensor


def capture_random() -> dict[str, Any]:
    """Copies of all generators' states, without advancing any of them."""
    version, internal, gauss = random.getstate()
    streams: dict[str, Any] = {
        "python": {"version": version, "internal": list(internal), "gauss": gauss},
        "torch": torch.get_rng_state().clone(),
    }
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        # get_state may hand out the generator's own array, so it is copied.
        streams["numpy"] = copy.deepcopy(numpy.random.get_state(legacy=False))
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        streams["cuda"] = [state.clone() for state in torch.cuda.get_rng_state_all()]
    other = _other_accelerator()
    if other is not None:
        kind, module = other
        if getattr(module, "is_initialized", lambda: True)():
            streams["accelerator"] = {"kind": kind, "states": [state.clone() for state in _states_of(module)]}
    return streams


def restore_random(streams: dict[str, Any]) -> None:
    """Put every captured generator back exactly; the next draw is the one that followed the capture."""
    python = streams["python"]
    random.setstate((python["version"], tuple(python["internal"]), python["gauss"]))
    torch.set_rng_state(streams["torch"])
    numpy = sys.modules.get("numpy")
    if numpy is not None and "numpy" in streams:
        numpy.random.set_state(copy.deepcopy(streams["numpy"]))
    if "cuda" in streams and torch.cuda.is_available():
        # A restart may have fewer or more devices than the checkpoint: the ones in common are restored.
        for index, state in enumerate(streams["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(state, index)
    other, kept = _other_accelerator(), streams.get("accelerator")
    if other is not None and kept is not None and kept["kind"] == other[0]:
        _restore_states(other[1], kept["states"])


def reseed_random(streams: dict[str, Any], attempt: int) -> int:
    """Seed every generator from the captured states and ``attempt``; returns the seed.

    Restoring them exactly would replay the very batches that did it. This gives another order of the data,
    and the same one again whenever the same attempt is begun from the same checkpoint.
    """
    digest = hashlib.sha256(f"trainguard attempt {attempt}".encode())
    digest.update(repr(streams["python"]["internal"]).encode())
    digest.update(bytes(streams["torch"].tolist()))
    seed = int.from_bytes(digest.digest()[:8], "big") >> 1  # torch takes 63 bits
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)  # every accelerator as well, and lazily where it sleeps
    return seed


def _other_accelerator() -> tuple[str, Any] | None:
    """Kind and torch module of an accelerator that is not CUDA: ``xpu``, ``mps``, ``npu``, …; a process has one."""
    device = torch.accelerator.current_accelerator(check_available=False)
    if device is None or device.type == "cuda":
        return None
    module = torch.get_device_module(device)
    is_known = hasattr(module, "get_rng_state") and hasattr(module, "set_rng_state")
    return (device.type, module) if is_known and module.is_available() else None


def _states_of(module: Any) -> list[Tensor]:
    if not _has_several(module):
        return [module.get_rng_state()]
    return [module.get_rng_state(index) for index in range(module.device_count())]


def _restore_states(module: Any, states: list[Tensor]) -> None:
    if not _has_several(module):
        module.set_rng_state(states[0])
        return
    for index, state in enumerate(states[: module.device_count()]):
        module.set_rng_state(state, index)


def _has_several(module: Any) -> bool:
    """Apple's has one device, and its functions take none."""
    return len(inspect.signature(module.get_rng_state).parameters) > 0
