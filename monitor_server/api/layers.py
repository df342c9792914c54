"""What single layers did, for a heat map."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response

from monitor_server.answers import LayerLooks, Layers
from monitor_server.api.observations import FromStep, ToStep
from monitor_server.api.service import PREFIX, Reading, answer
from monitor_server.storage import layers

router = APIRouter(prefix=PREFIX, tags=["observations"])

LayerSignal = Literal["grad_norm", "param_norm", "update_ratio", "zero_grads"]


@router.get("/runs/{run_id}/layers", response_model=Layers)
def show_layers(
    run_id: UUID,
    service: Reading,
    signal: LayerSignal = "grad_norm",
    from_step: FromStep = None,
    to_step: ToStep = None,
    points: Annotated[int, Query(ge=1, le=500, description="Looks per attempt, at most.")] = 120,
) -> Response:
    """One signal of every layer over the steps, thinned out; empty for a run that does not look at its layers."""
    with service.reading(run_id) as (connection, _):
        found = layers.looks(connection, run_id, signal=signal, points=points, from_step=from_step, to_step=to_step)
    names = list(dict.fromkeys(name for row in found for name in row.values))
    told: dict[int, LayerLooks] = {}
    for row in found:
        looks = told.setdefault(row.attempt, LayerLooks(attempt=row.attempt, steps=[], values=[]))
        looks.steps.append(row.step)
        looks.values.append([row.values.get(name) for name in names])
    return answer(Layers(run_id=run_id, signal=signal, layers=names, attempts=list(told.values())))
