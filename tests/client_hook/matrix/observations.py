"""What a hook has measured, for a test that looks over its shoulder."""

from __future__ import annotations

from typing import Any

import client_hook
from trainguard.wire import Observation


def listen(hook: client_hook.TrainingHook) -> list[Observation]:
    """A list that grows with every observation that the hook puts into its outbox."""
    heard: list[Observation] = []
    put = hook._outbox.put

    def overhear(item: Any) -> None:
        if isinstance(item, Observation):
            heard.append(item)
        put(item)

    hook._outbox.put = overhear  # type: ignore[method-assign]
    return heard


def attach(model: Any, optimizer: Any, **options: Any) -> client_hook.TrainingHook:
    """In mode ``observe``, detecting inside ``observe``."""
    return client_hook.attach(model, optimizer, run="matrix", **{"mode": "observe", "synchronous": True, **options})
