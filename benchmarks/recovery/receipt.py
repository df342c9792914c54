"""From the receipt that brings a command to its application: a real service, a real training, an order by the API.

``python -m benchmarks.recovery.receipt`` prints its figures as JSON.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import torch

import client_hook
from benchmarks.recovery.workloads import WORKLOADS, Stream
from examples.char_gpt.service import Service
from trainguard.wire import Receipt


def measure(commands: int, seconds: float = 120.0) -> dict[str, Any]:
    """Orders ``commands`` checkpoints one after the other; steps between each one's receipt and its application."""
    waited: list[int] = []
    with tempfile.TemporaryDirectory(prefix="bench-recovery-", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        with Service(folder / "bench.db", folder / "service.log") as service, httpx.Client(trust_env=False) as client:
            training = WORKLOADS["mlp"].build(1)
            # It makes some ten thousand steps meanwhile, through which it is to be calm.
            training.schedule(lambda step: 0.3)
            hook = client_hook.attach(
                training.model,
                training.optimizers,
                run="receipt",
                server=service.url,
                mode="act",
                checkpoints=folder / "checkpoints",
            )
            arrived: list[int] = []
            hear = hook._worker._on_receipt

            def heard(receipt: Receipt) -> None:
                if receipt.commands:
                    # The step whose boundary comes next; noted before the hook can look at the command.
                    arrived.append(hook.next_step)
                hear(receipt)

            hook._worker._on_receipt = heard
            orders = f"{service.url}/api/v1/runs/{hook.run_id}/commands"
            is_ordered = False
            deadline = time.monotonic() + seconds
            for batch in Stream(training.draw, 1):
                if len(waited) == commands or time.monotonic() > deadline:
                    break
                loss = training.iterate(batch, lambda loss: True)
                outcome = hook.observe(loss)
                if outcome.action == "save_now":
                    waited.append(max(0, outcome.step - arrived[-1]))
                    is_ordered = False
                elif not is_ordered and outcome.step % 50 == 0 and outcome.step > 0:
                    answer = client.post(orders, json={"orders": [{"action": "save_now"}]})
                    is_ordered = answer.status_code == httpx.codes.CREATED
            hook.close()
    return {"commands": len(waited), "steps_waited": waited, "most": max(waited, default=None)}


if __name__ == "__main__":
    logging.getLogger("trainguard").setLevel(logging.CRITICAL)
    torch.set_num_threads(1)
    print(json.dumps(measure(int(sys.argv[1]))))
