"""Memory over 100,000 observations, and what importing and attaching the hook cost once torch is there."""

from __future__ import annotations

import gc
import json
import sys
import threading
import time

import torch


def _resident_mib() -> float:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096 / 2**20


def main(observations: int, server: str | None) -> None:
    threads = threading.active_count()
    began = time.perf_counter()
    import client_hook

    import_ms = 1_000 * (time.perf_counter() - began)
    report: dict[str, object] = {
        "import_ms": import_ms,
        "threads_started": threading.active_count() - threads,
        "httpx_loaded": "httpx" in sys.modules,
    }
    model = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.Linear(16, 1))
    optimizer = torch.optim.AdamW(model.parameters())
    inputs = torch.ones(4, 16)

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(inputs).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(200):
        step()
    gc.collect()
    before = _resident_mib()
    began = time.perf_counter()
    hook = client_hook.attach(model, optimizer, run="bench", mode="observe", server=server)
    # Beside the import, so that nothing gets out of that by being left for later.
    report["attach_ms"] = 1_000 * (time.perf_counter() - began)
    course = []
    for count in range(observations):
        hook.observe(step())
        if (count + 1) % (observations // 10) == 0:
            course.append(round(_resident_mib() - before, 1))
    hook.close(timeout=0.1)
    report |= {"observations": observations, "extra_mib": course}
    print(json.dumps(report))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
