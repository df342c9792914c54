"""Does the optimizer train this model? Asked at attach, because a rollback restores the one and not the other."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from client_hook.errors import AttachError


def check_ownership(model: nn.Module, optimizers: Sequence[Optimizer], *, keeps_checkpoints: bool) -> None:
    """Compare the optimizers' parameters with the model's, by identity.

    Raises:
        AttachError: no optimizer owns any parameter of the model; or one owns others besides, which a
            checkpoint of the model would forget.
    """
    if not optimizers:
        raise AttachError("optimizer is empty; give the optimizer that trains the model, or a list of them")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    owned = [parameter for each in optimizers for group in each.param_groups for parameter in group["params"]]
    if any(is_lazy(parameter) for parameter in model.parameters()):
        raise AttachError("the model has lazy parameters without a shape; run one batch through it, then attach")
    if not any(id(parameter) in names for parameter in owned):
        raise AttachError(
            f"optimizer does not own any of the model's {len(names)} parameters; make it from the parameters of the "
            "model that is attached, after the model was moved, wrapped or replaced"
        )
    foreign = sum(id(parameter) not in names for parameter in owned)
    if foreign and keeps_checkpoints:
        raise AttachError(
            f"optimizer owns {foreign} parameters that are not the model's, and a checkpoint would forget them; "
            "attach every module that it trains: attach([model, other], optimizer, …)"
        )


def check_schedulers(schedulers: Sequence[object], optimizers: Sequence[Optimizer]) -> None:
    """A scheduler of another optimizer would be rewound while its rates are not.

    Raises:
        AttachError: names the scheduler.
    """
    known = {id(optimizer) for optimizer in optimizers}
    for index, scheduler in enumerate(schedulers):
        mine = getattr(scheduler, "optimizer", None)
        if isinstance(mine, Optimizer) and id(mine) not in known:
            raise AttachError(
                f"schedulers[{index}] ({type(scheduler).__name__}) steps an optimizer that is not attached; "
                "attach that optimizer too, or leave the scheduler out"
            )
