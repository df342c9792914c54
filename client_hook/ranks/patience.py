"""How long ranks wait for each other. Every wait of ours has an end, and this is where the ends stand."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """Seconds; each is the most that one wait may take."""

    attach_seconds: float = 300.0
    """Until every rank has come to ``attach``: the slowest one still loads its data."""
    hear_seconds: float = 60.0
    """Until every rank has heard of a proposal and said where it will stop; the couriers answer, so no step counts."""
    check_seconds: float = 300.0
    """Until every rank stands at the agreed step and has loaded and checked what is to be applied."""
    apply_seconds: float = 300.0
    """Until every rank has applied it."""
    silence_seconds: float = 20.0
    """A rank whose courier gave no sign for so long is dead, and is not waited for any longer."""
    grace_seconds: float = 10.0
    """How much longer the others wait for rank 0's word than rank 0 waits for theirs."""
    answer_seconds: float = 30.0
    """For one answer of the store itself."""
    values_seconds: float = 2.0
    """How long an observation is held back for what the other ranks have measured."""
    guard_seconds: float = 60.0
    """For the one small collective of the guard on a sharded model."""
