"""The random streams that a training draws from: python, numpy, torch on the CPU and on every CUDA device.

Nothing here draws a number, imports numpy, or wakes CUDA up.
"""

from __future__ import annotations

import copy
import hashlib
import random
import sys
from typing import Any

import torch


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
    torch.manual_seed(seed)  # every CUDA device as well, and lazily where CUDA sleeps
    return seed
