"""How fast this machine is, so that figures of two of them can be held against each other."""

from __future__ import annotations

import os
import platform
import time

ADDITIONS = 1_000_000
TRIES = 5


def loop_milliseconds() -> float:
    """Wall time of a plain Python loop of a million additions; the shortest of some tries."""
    took = []
    for _ in range(TRIES):
        began = time.perf_counter()
        total = 0
        for number in range(ADDITIONS):
            total += number
        took.append(time.perf_counter() - began)
    return 1000 * min(took)


def described() -> str:
    """Cores, Python, load and speed of this machine, in a line."""
    return (
        f"{os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the start, "
        f"a plain loop of a million additions takes {loop_milliseconds():.0f} ms"
    )
