"""Single layers over the steps: thinned out, by attempt, NaN and all."""

from __future__ import annotations

import math

from tests.monitor_server.api.door import Door, problem
from tests.monitor_server.service import Trainer, block_of


def looks(count: int, value: float) -> dict[str, list[float | None]]:
    """Every tenth step looks at two layers."""
    return {
        f"grad_norm/{name}": [size * value if step % 10 == 0 else None for step in range(count)]
        for name, size in (("h.0", 1.0), ("h.1", 2.0))
    }


async def test_a_run_without_layers_has_none(door: Door) -> None:
    trainer = Trainer()
    await door.register(trainer)
    await door.send(trainer.steps([1.0] * 50))
    told = await door.read(f"/runs/{trainer.run_id}/layers")
    assert (told["layers"], told["attempts"]) == ([], [])


async def test_layers_are_told_in_order_and_thinned_out(door: Door) -> None:
    trainer = Trainer()
    await door.register(trainer)
    await door.send(trainer.envelope(blocks=[block_of(0, 0, [1.0] * 200, **looks(200, 3.0))]))
    path = f"/runs/{trainer.run_id}/layers"
    told = await door.read(path)
    assert told["layers"] == ["h.0", "h.1"]
    (attempt,) = told["attempts"]
    assert attempt["steps"] == list(range(0, 200, 10))
    assert attempt["values"][0] == [3.0, 6.0]
    (thin,) = (await door.read(path, points=5))["attempts"]
    assert thin["steps"] == [0, 40, 80, 120, 160]
    (window,) = (await door.read(path, from_step=95, to_step=120))["attempts"]
    assert window["steps"] == [100, 110, 120]
    assert (await door.read(path, signal="update_ratio"))["layers"] == []
    problem(await door.client.get(f"/api/v1{path}", params={"signal": "loss"}), 422, "invalid_request")


async def test_what_is_no_number_is_told_as_such_and_a_layer_may_come_late(door: Door) -> None:
    trainer = Trainer()
    await door.register(trainer)
    first = block_of(0, 0, [1.0], **{"grad_norm/a.x": [1.0]})
    later = block_of(1, 1, [1.0], **{"grad_norm/a.x": [math.nan], "grad_norm/b": [math.inf]})
    await door.send(trainer.envelope(blocks=[first]))
    await door.send(trainer.envelope(attempt=1, blocks=[later]))
    told = await door.read(f"/runs/{trainer.run_id}/layers")
    assert told["layers"] == ["a.x", "b"]
    assert [one["values"] for one in told["attempts"]] == [[[1.0, None]], [["NaN", "Infinity"]]]
