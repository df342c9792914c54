"""Small real trainings of every kind: what the matrix is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.optim import Optimizer, lr_scheduler

import client_hook

try:
    import pytorch_optimizer
except ImportError:  # a test dependency; without it those rows are skipped
    pytorch_optimizer = None

OptimizerOf = Callable[[Iterable[nn.Parameter]], Optimizer]


class Scorer(nn.Module):
    """Weights of two dimensions only, so that Muon and Adafactor take them all, and a sparse table on request."""

    def __init__(self, *, is_sparse: bool = False) -> None:
        super().__init__()
        self.words = nn.Embedding(30, 8, sparse=is_sparse)
        self.hidden = nn.Linear(8, 12, bias=False)
        self.out = nn.Linear(12, 2, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        score: Tensor = self.out(torch.tanh(self.hidden(self.words(tokens))))
        return score


def batch(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(500 + step)
    return torch.randint(0, 30, (8,), generator=generator), torch.randn(8, 2, generator=generator)


def loss_of(model: nn.Module, step: int) -> Tensor:
    tokens, wanted = batch(step)
    return nn.functional.mse_loss(model(tokens), wanted)


class QuantisedMoments(Optimizer):
    """Adam-like with its moments in 8 bits and a scale each, as the 8-bit optimizers keep them."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 1e-2) -> None:
        super().__init__(params, {"lr": lr, "betas": (0.9, 0.99), "eps": 1e-6})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    for name in ("exp_avg", "exp_avg_sq"):
                        state[name] = torch.zeros_like(parameter, dtype=torch.int8)
                        state[f"{name}_scale"] = torch.zeros(())
                moments = []
                for name, beta, new in zip(
                    ("exp_avg", "exp_avg_sq"), group["betas"], (parameter.grad, parameter.grad.square())
                ):
                    value = state[name].float() * state[f"{name}_scale"] / 127
                    value = beta * value + (1 - beta) * new
                    scale = value.abs().max()
                    state[f"{name}_scale"].copy_(scale)
                    state[name].copy_((value / scale.clamp_min(1e-20) * 127).round())
                    moments.append(value)
                parameter.sub_(group["lr"] * moments[0] / (moments[1].sqrt() + group["eps"]))


OPTIMIZERS: dict[str, OptimizerOf] = {
    "Adadelta": lambda p: optim.Adadelta(p, lr=0.5),
    "Adafactor": lambda p: optim.Adafactor(p, lr=1e-2),
    "Adagrad": lambda p: optim.Adagrad(p, lr=1e-2),
    "Adam": lambda p: optim.Adam(p, lr=1e-2),
    "AdamW": lambda p: optim.AdamW(p, lr=1e-2),
    "Adamax": lambda p: optim.Adamax(p, lr=1e-2),
    "ASGD": lambda p: optim.ASGD(p, lr=1e-2),
    "LBFGS": lambda p: optim.LBFGS(p, lr=0.1, max_iter=3, history_size=3),
    "Muon": lambda p: optim.Muon(p, lr=1e-2),
    "NAdam": lambda p: optim.NAdam(p, lr=1e-2),
    "RAdam": lambda p: optim.RAdam(p, lr=1e-2),
    "RMSprop": lambda p: optim.RMSprop(p, lr=1e-3),
    "Rprop": lambda p: optim.Rprop(p, lr=1e-3),
    "SGD": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "SparseAdam": lambda p: optim.SparseAdam(p, lr=1e-2),
    "AdamW foreach": lambda p: optim.AdamW(p, lr=1e-2, foreach=True),
    "AdamW for-loop": lambda p: optim.AdamW(p, lr=1e-2, foreach=False),
    "AdamW fused": lambda p: optim.AdamW(p, lr=1e-2, fused=True),
    "AdamW amsgrad": lambda p: optim.AdamW(p, lr=1e-2, amsgrad=True),
    "SGD fused": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "Adagrad fused": lambda p: optim.Adagrad(p, lr=1e-2, fused=True),
    "Adam tensor rate": lambda p: optim.Adam(p, lr=torch.tensor(1e-2), foreach=False),
    "8-bit": QuantisedMoments,
}
if pytorch_optimizer is not None:
    OPTIMIZERS |= {
        "Lion": lambda p: pytorch_optimizer.Lion(p, lr=1e-3),
        "Lamb": lambda p: pytorch_optimizer.Lamb(p, lr=1e-2),
        "SophiaH": lambda p: pytorch_optimizer.SophiaH(p, lr=1e-2, update_period=2),
    }


def make_optimizer(name: str, model: nn.Module) -> Optimizer:
    parameters = list(model.parameters())
    if name in ("LBFGS", "SparseAdam"):  # one group only; sparse gradients only
        return OPTIMIZERS[name](parameters if name == "LBFGS" else parameters[:1])
    groups: list[dict[str, Any]] = [{"params": parameters[:1]}, {"params": parameters[1:]}]
    return OPTIMIZERS[name](groups)  # type: ignore[arg-type]


def _constant(optimizer: Optimizer) -> Any:
    return lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=6)


SCHEDULERS: dict[str, Callable[[Optimizer], Any]] = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(
        o, lambda step: (step + 1) / 4 if step < 4 else 0.5 * (1 + math.cos(math.pi * (step - 4) / 20))
    ),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda step: 0.9),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 3, 0.5),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 7], 0.3),
    "ConstantLR": _constant,
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=5),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=4), lr_scheduler.CosineAnnealingLR(o, 20)], [4]
    ),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, 20, 2.0),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 6),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler([_constant(o), lr_scheduler.ExponentialLR(o, 0.9)]),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1, factor=0.5),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 1e-3, 1e-2, step_size_up=3, cycle_momentum=False),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, [0.02, 0.01], total_steps=40),
    "by hand": lambda o: ByHand(o),
}


class ByHand:
    """A loop that sets every group's rate itself, each step."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.steps_made = 0

    def step(self) -> None:
        self.steps_made += 1
        for index, group in enumerate(self.optimizer.param_groups):
            group["lr"] = 0.01 / (1 + index) / math.sqrt(1 + self.steps_made)

    def state_dict(self) -> dict[str, Any]:
        return {"steps_made": self.steps_made}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps_made = state["steps_made"]


@dataclass
class Run:
    """One training of the matrix: bare, or with the hook attached."""

    optimizer_name: str = "AdamW"
    scheduler_name: str | None = None
    model: nn.Module = field(init=False)
    optimizer: Optimizer = field(init=False)
    scheduler: Any = None
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        torch.manual_seed(3)
        self.model = Scorer(is_sparse=self.optimizer_name == "SparseAdam")
        self.optimizer = make_optimizer(self.optimizer_name, self.model)
        if self.scheduler_name is not None:
            self.scheduler = SCHEDULERS[self.scheduler_name](self.optimizer)

    def attach(self, **options: Any) -> client_hook.TrainingHook:
        scheduler = None if isinstance(self.scheduler, ByHand) else self.scheduler
        if isinstance(self.scheduler, ByHand):
            options.setdefault("state", {"by hand": self.scheduler})
        return client_hook.attach(
            self.model, self.optimizer, run="matrix", scheduler=scheduler, synchronous=True, **options
        )

    def update(self, step: int) -> Tensor:
        """Forward, backward and the optimizer's step, with a closure where it wants one."""

        def closure() -> Tensor:
            self.optimizer.zero_grad()
            loss = loss_of(self.model, step)
            if self.optimizer_name == "SophiaH":
                # It differentiates the gradients once more.
                for parameter, gradient in zip(
                    self.owned(), torch.autograd.grad(loss, self.owned(), create_graph=True)
                ):
                    parameter.grad = gradient
            else:
                loss.backward()  # type: ignore[no-untyped-call]
            return loss

        if isinstance(self.optimizer, optim.LBFGS):
            loss = self.optimizer.step(closure)
            assert isinstance(loss, Tensor)
        else:
            loss = closure()
            self.optimizer.step()
        self.losses.append(loss.item())
        return loss

    def advance(self) -> None:
        if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(1.0)  # never better: it lowers the rate every second step
        elif self.scheduler is not None:
            self.scheduler.step()

    def owned(self) -> list[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def everything(self) -> list[Tensor]:
        """Every number that the training goes on from."""
        tensors = list(self.model.state_dict().values())
        for state in self.optimizer.state.values():
            tensors += [value for value in state.values() if isinstance(value, Tensor)]
        return [tensor.detach().clone() for tensor in tensors]

    def rates(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]


def norm(tensors: Sequence[Tensor | None]) -> float:
    """By the definition, in float64."""
    total = 0.0
    for tensor in tensors:
        if tensor is not None:
            dense = tensor.detach().to_dense() if tensor.is_sparse else tensor.detach()
            dense = torch.view_as_real(dense) if dense.is_complex() else dense
            total += float(dense.double().square().sum())
    return math.sqrt(total)


def same(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    return len(first) == len(second) and all(torch.equal(one, other) for one, other in zip(first, second))
