"""The rest of what people do in their loops: accumulation, clipping, scalers, autocast, compile, odd parameters."""

from __future__ import annotations

import copy
import shutil
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

from tests.client_hook.matrix.observations import attach, listen
from tests.client_hook.matrix.trainings import Scorer, batch, loss_of, norm, same


def scorer() -> Scorer:
    torch.manual_seed(3)
    return Scorer()


def weights(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def test_accumulated_gradients_make_one_observation() -> None:
    model, bare = scorer(), scorer()
    optimizers = [optim.AdamW(one.parameters(), lr=1e-2) for one in (model, bare)]
    hook = attach(model, optimizers[0])
    heard = listen(hook)
    for step in range(4):
        for one, optimizer in zip((model, bare), optimizers):
            losses = []
            for part in range(4):
                loss = loss_of(one, 4 * step + part)
                (loss / 4).backward()  # type: ignore[no-untyped-call]
                losses.append(loss)
                if one is model:
                    hook.accumulate(loss)
            optimizer.step()
        hook.observe()
        assert heard[-1].signals["loss"] == pytest.approx(sum(x.item() for x in losses) / 4)
        assert heard[-1].signals["grad_norm"] == pytest.approx(norm([p.grad for p in model.parameters()]), rel=1e-4)
        for optimizer in optimizers:
            optimizer.zero_grad()
    assert len(heard) == 4
    assert same(weights(model), weights(bare))
    hook.close()


def test_losses_in_half_precision_are_summed_in_full() -> None:
    model = scorer()
    hook = attach(model, optim.SGD(model.parameters(), lr=1e-2))
    heard = listen(hook)
    for micro_batch in range(300):
        hook.accumulate(torch.tensor(3.0 + 0.5 * (micro_batch % 2), dtype=torch.bfloat16))
    hook.observe()
    hook.close()
    assert heard[0].signals["loss"] == 3.25


@pytest.mark.parametrize("how", ["the hook's", "torch's", "torch's, told", "by value"])
def test_clipping_is_seen_for_what_it_is(how: str) -> None:
    model = scorer()
    optimizer = optim.SGD(model.parameters(), lr=1e-2)
    hook = attach(model, optimizer)
    heard = listen(hook)
    for step in range(8):
        optimizer.zero_grad()
        loss = loss_of(model, step)
        loss.backward()  # type: ignore[no-untyped-call]
        before, told = norm([p.grad for p in model.parameters()]), {}
        if how == "the hook's":
            hook.clip_grad_norm_(0.05)
        elif how == "by value":
            nn.utils.clip_grad_value_(model.parameters(), 0.01)
        else:
            total = nn.utils.clip_grad_norm_(model.parameters(), 0.05)
            told = {"grad_norm": total} if how == "torch's, told" else {}
        after = norm([p.grad for p in model.parameters()])
        optimizer.step()
        hook.observe(loss, **told)
        values = heard[-1].signals
        if how in ("the hook's", "torch's, told"):
            assert values["grad_norm"] == pytest.approx(before, rel=1e-4)
            assert values["grad_norm_clipped"] == pytest.approx(after, rel=1e-4)
        elif how == "torch's" and step >= 2:
            # Nobody told, but a ceiling shows: it is not passed off as the norm before clipping.
            assert "grad_norm" not in values
            assert values["grad_norm_clipped"] == pytest.approx(after, rel=1e-4)
        else:
            assert values["grad_norm"] == pytest.approx(after, rel=1e-4)
    hook.close()


@pytest.mark.parametrize("by", ["parts", "the largest element", "one part of two"])
def test_whatever_the_hook_clips_the_norm_is_that_of_all_gradients_before(by: str) -> None:
    model = scorer()
    optimizer = optim.SGD(model.parameters(), lr=1e-2)
    hook = attach(model, optimizer)
    heard = listen(hook)
    for step in range(3):
        optimizer.zero_grad()
        for micro_batch in range(2):
            loss = loss_of(model, 2 * step + micro_batch)
            loss.backward()  # type: ignore[no-untyped-call]
            before = norm([p.grad for p in model.parameters()])
            if by == "the largest element":
                hook.clip_grad_norm_(1e-3, norm_type=float("inf"))
            else:
                hook.clip_grad_norm_(1e-3, parameters=model.words.parameters())
            if by == "parts":
                hook.clip_grad_norm_(2e-3, parameters=[model.hidden.weight, model.out.weight])
        after = norm([p.grad for p in model.parameters()])
        optimizer.step()
        hook.observe(loss)
        assert heard[-1].signals["grad_norm"] == pytest.approx(before, rel=1e-4)
        assert heard[-1].signals["grad_norm_clipped"] == pytest.approx(after, rel=1e-4)
    hook.close()


@pytest.mark.parametrize("kind", [optim.AdamW, optim.SGD, optim.LBFGS])
def test_gradients_made_in_a_closure_are_those_of_this_step(kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    model = scorer()
    optimizer = kind(model.parameters(), lr=1e-2)
    hook = attach(model, optimizer, layers_every=1)
    heard = listen(hook)
    for step in range(4):

        def closure(step: int = step) -> Tensor:
            optimizer.zero_grad()
            loss = loss_of(model, step) * (1 + step)
            loss.backward()  # type: ignore[no-untyped-call]
            if step == 3:
                model.hidden.weight.grad[0, 0] = float("nan")  # type: ignore[index]
            return loss

        hook.observe(optimizer.step(closure))
        values = heard[-1].signals
        if step < 3:
            assert values["grad_norm"] == pytest.approx(norm([p.grad for p in model.parameters()]), rel=1e-4)
            assert values["grad_norm/words.weight"] == pytest.approx(norm([model.words.weight.grad]), rel=1e-4)
    assert values["nonfinite_grads"] >= 1
    # LBFGS evaluates once more, with the weights that the first evaluation has spoilt.
    bad = "words" if kind is optim.LBFGS else "hidden"
    assert f"At step 3, the first that is not finite is the gradient of {bad}.weight." in caplog.messages
    hook.close()


def test_two_optimizers_that_take_turns_under_one_scaler_are_each_unscaled_once() -> None:
    outcomes = []
    for is_watched in (False, True):
        torch.manual_seed(0)
        maker, judge = nn.Linear(3, 3), nn.Linear(3, 1)
        optimizers = [optim.SGD(one.parameters(), lr=0.1) for one in (judge, maker)]
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        hook = attach([maker, judge], optimizers, scaler=scaler) if is_watched else None
        for _ in range(3):
            for optimizer, model in zip(optimizers, (judge, maker)):
                optimizer.zero_grad()
                made = maker(torch.ones(2, 3))
                loss = judge(made.detach() if model is judge else made).square().mean()
                scaler.scale(loss).backward()
                if hook:
                    hook.clip_grad_norm_(0.1, parameters=model.parameters())
                else:
                    scaler.unscale_(optimizer)
                    nn.utils.clip_grad_norm_(model.parameters(), 0.1)
                scaler.step(optimizer)
            scaler.update()
            if hook:
                hook.observe(loss)
        if hook:
            hook.close()
        outcomes.append([*weights(maker), *weights(judge)])
    assert same(*outcomes)


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_the_scaler_skips_is_no_incident(fused: bool) -> None:
    model, bare = scorer(), scorer()
    made = []
    for one in (model, bare):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=3)
        made.append((one, optim.AdamW(one.parameters(), lr=1e-2, fused=fused), scaler))
    hook = attach(model, made[0][1], scaler=made[0][2])
    heard = listen(hook)
    skipped = []
    for step in range(10):
        for one, optimizer, scaler in made:
            optimizer.zero_grad()
            loss = loss_of(one, step)
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            true_norm = norm([p.grad for p in one.parameters()]) / scaler.get_scale()
            if step in (4, 7):
                one.out.weight.grad[0, 0] = float("inf")  # type: ignore[index]
            scaler.step(optimizer)
            scaler.update()
        hook.observe(loss)
        values = heard[-1].signals
        skipped.append(values["update_skipped"])
        assert values["loss_scale"] == made[0][2].get_scale()
        if not skipped[-1]:
            assert values["grad_norm"] == pytest.approx(true_norm, rel=1e-3)
            assert 0 < values["adam_rms"] < 100
        else:
            assert values.get("update_norm", 0.0) == 0.0
            assert "adam_rms" not in values
    assert skipped == [0, 0, 0, 0, 1, 0, 0, 1, 0, 0]
    assert same(weights(model), weights(bare))
    assert not hook._brain.is_troubled
    hook.close()


def test_under_autocast_the_norms_are_those_of_the_gradients() -> None:
    model = scorer()
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    hook = attach(model, optimizer, activations="hidden")
    heard = listen(hook)
    for step in range(4):
        optimizer.zero_grad()
        tokens, wanted = batch(step)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = nn.functional.mse_loss(model(tokens).float(), wanted)
        loss.backward()
        optimizer.step()
        hook.observe(loss)
        assert heard[-1].signals["grad_norm"] == pytest.approx(norm([p.grad for p in model.parameters()]), rel=1e-3)
        assert heard[-1].signals["activation_rms/hidden"] > 0
    hook.close()


def test_a_model_that_is_bf16_throughout_is_measured_in_float32() -> None:
    model = scorer().to(torch.bfloat16)
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    hook = attach(model, optimizer)
    heard = listen(hook)
    tokens, wanted = batch(0)
    loss = nn.functional.mse_loss(model(tokens), wanted.to(torch.bfloat16))
    loss.backward()
    optimizer.step()
    hook.observe(loss)
    assert heard[-1].signals["grad_norm"] == pytest.approx(norm([p.grad for p in model.parameters()]), rel=1e-3)
    assert heard[-1].signals["param_norm"] == pytest.approx(norm(weights(model)), rel=1e-3)
    hook.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, as it loads its compiler
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_model_trains_as_it_would_alone(backend: str) -> None:
    losses = []
    for watched in (False, True):
        torch.compiler.reset()
        model = scorer()
        compiled: Any = torch.compile(model, backend=backend)
        optimizer = optim.AdamW(model.parameters(), lr=1e-2)
        hook = attach(compiled, optimizer, trace_modules=True, activations="*", layers_every=2) if watched else None
        heard = listen(hook) if hook else []
        mine = []
        for step in range(4):
            optimizer.zero_grad()
            loss = loss_of(compiled, step)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if hook:
                hook.observe(loss)
                expected = norm([p.grad for p in model.parameters()])
                assert heard[-1].signals["grad_norm"] == pytest.approx(expected, rel=1e-4)
            mine.append(loss.item())
        if hook:
            hook.close()
        losses.append(mine)
    assert losses[0] == losses[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_optimizer_step_does_not_compile_the_hook() -> None:
    import torch._dynamo.utils

    outcomes = []
    for watched in (False, True):
        torch.compiler.reset()
        torch._dynamo.utils.counters.clear()
        model = scorer()
        optimizer = optim.AdamW(model.parameters(), lr=torch.tensor(1e-2))
        hook = attach(model, optimizer) if watched else None
        step_of: Any = torch.compile(optimizer.step, backend="eager")
        for step in range(3):
            optimizer.zero_grad()
            loss = loss_of(model, step)
            loss.backward()  # type: ignore[no-untyped-call]
            step_of()
            if hook:
                hook.observe(loss)
        if hook:
            hook.close()
        outcomes.append(weights(model))
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] < 10  # the hook's own would be dozens
    assert same(*outcomes)


class Odd(nn.Module):
    """Tied, sparse, complex, empty and frozen parameters in one model."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 4)
        self.out = nn.Linear(4, 20, bias=False)
        self.out.weight = self.words.weight
        self.rare = nn.Embedding(20, 4, sparse=True)
        self.phase = nn.Parameter(torch.randn(4, dtype=torch.complex64))
        self.empty = nn.Parameter(torch.empty(0, 4))
        self.frozen = nn.Parameter(torch.ones(4), requires_grad=False)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = (self.words(tokens) + self.rare(tokens)) * self.phase.abs() * self.frozen
        result: Tensor = self.out(hidden) + self.empty.sum()
        return result


def test_odd_parameters_are_measured_rightly_and_left_alone() -> None:
    torch.manual_seed(5)
    model = Odd()
    bare = copy.deepcopy(model)
    optimizers = [optim.SGD(one.parameters(), lr=0.1) for one in (model, bare)]
    hook = attach(model, optimizers[0], layers_every=1, trace_modules=True, activations="*")
    heard = listen(hook)
    for step in range(4):
        tokens, _ = batch(step)
        tokens = tokens % 20
        before = weights(model)
        for one, optimizer in zip((model, bare), optimizers):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(one(tokens), tokens)
            loss.backward()
            optimizer.step()
        hook.observe(loss)
        values = heard[-1].signals
        gradients = [
            p.grad.coalesce() if p.grad.is_sparse else p.grad for p in model.parameters() if p.grad is not None
        ]
        assert values["grad_norm"] == pytest.approx(norm(gradients), rel=1e-4)
        assert values["param_norm"] == pytest.approx(norm(weights(model)), rel=1e-4)
        update = norm([after - other for after, other in zip(weights(model), before)])
        assert values["update_norm"] == pytest.approx(update, rel=2e-3)
        assert values["grad_norm/phase"] == pytest.approx(norm([model.phase.grad]), rel=1e-4)
        assert "grad_norm/out.weight" not in values  # it is words.weight
    assert same(weights(model), weights(bare))
    hook.close()


def test_the_first_bad_parameter_is_said_in_the_log_and_to_the_service(caplog: pytest.LogCaptureFixture) -> None:
    model = scorer()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    hook = attach(model, optimizer)
    items: list[Any] = []
    put = hook._outbox.put
    hook._outbox.put = lambda item: (items.append(item), put(item))[1]  # type: ignore[method-assign,func-returns-value]
    loss_of(model, 0).backward()  # type: ignore[no-untyped-call]
    model.hidden.weight.grad[1, 1] = float("nan")  # type: ignore[index]
    optimizer.step()
    hook.observe(1.0)
    hook.close()
    sentence = "At step 0, the first that is not finite is the gradient of hidden.weight."
    assert sentence in caplog.messages
    assert [item.message for item in items if getattr(item, "detector", "") == "first_nonfinite"] == [sentence]
