"""On a GPU: everything is measured and nothing waits for the device."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from tests.client_hook.matrix.observations import attach, listen

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.fixture
def no_synchronisation() -> Iterator[None]:
    """Whatever waits for the device raises."""
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode(mode)


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 8)).cuda()


@pytest.mark.parametrize("fused", [False, True])
def test_no_signal_waits_for_the_device(fused: bool, no_synchronisation: None) -> None:
    torch.cuda.set_sync_debug_mode("default")
    model = _model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=fused)
    inputs = torch.randn(32, 64, device="cuda")
    hook = attach(
        model,
        optimizer,
        layers_every=2,
        exact_update_ratio_every=3,
        trace_modules=True,
        activations="*",
        synchronous=False,
    )
    heard = listen(hook)
    torch.cuda.set_sync_debug_mode("error")
    for _ in range(12):
        optimizer.zero_grad()
        loss = model(inputs).square().mean()
        loss.backward()
        optimizer.step()
        hook.observe(loss)
    torch.cuda.set_sync_debug_mode("default")
    hook.close()
    assert [one.step for one in heard] == list(range(12))
    for one in heard:
        assert math.isfinite(one.signals["loss"])
        assert one.signals["grad_norm"] > 0
        assert one.signals["update_ratio"] > 0
        assert one.signals["adam_rms"] > 0
    assert any("grad_norm/0.weight" in one.signals for one in heard)


def test_values_belong_to_their_step_though_they_are_read_one_late() -> None:
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    hook = attach(model, optimizer)
    heard = listen(hook)
    losses, norms = [], []
    for _ in range(6):
        optimizer.zero_grad()
        loss = model(torch.randn(32, 64, device="cuda")).square().mean()
        loss.backward()
        norms.append(float(torch.linalg.vector_norm(torch.stack([p.grad.norm() for p in model.parameters()]))))
        optimizer.step()
        hook.observe(loss)
        losses.append(loss.item())
    hook.close()
    assert [one.signals["loss"] for one in heard] == pytest.approx(losses)
    assert [one.signals["grad_norm"] for one in heard] == pytest.approx(norms, rel=1e-4)


def test_a_bad_value_is_named_within_two_steps(caplog: pytest.LogCaptureFixture) -> None:
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    hook = attach(model, optimizer)
    for _ in range(3):
        optimizer.zero_grad()
        loss = model(torch.randn(32, 64, device="cuda")).square().mean()
        loss.backward()
        model[0].weight.grad[0, 0] = float("nan")
        optimizer.step()
        hook.observe(loss)
    hook.close()
    assert any("the first that is not finite is the gradient of 0.weight" in message for message in caplog.messages)


@pytest.mark.parametrize("fused", [False, True])
def test_the_guard_keeps_bad_updates_away_without_waiting(fused: bool) -> None:
    model = _model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=fused)
    inputs = torch.randn(32, 64, device="cuda")
    hook = attach(model, optimizer, guard=True, synchronous=False)
    heard = listen(hook)
    before: list[torch.Tensor] = []
    torch.cuda.set_sync_debug_mode("error")
    for step in range(6):
        optimizer.zero_grad()
        loss = model(inputs).square().mean()
        loss.backward()
        if step == 4:
            before = [parameter.detach().clone() for parameter in model.parameters()]
            model[0].weight.grad[0, 0] = float("nan")
        optimizer.step()
        hook.observe(loss)
        if step == 4:
            after = [parameter.detach().clone() for parameter in model.parameters()]
    torch.cuda.set_sync_debug_mode("default")
    hook.close()
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert [one.step for one in heard if one.signals.get("update_skipped")] == [4]
    if fused:
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
