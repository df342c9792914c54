"""A limit for gradient norms that lies over whatever the loop does itself."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from client_hook.recovery.optimizer_state import parameters_of


class ClippingLimit:
    """Applied in every optimizer step pre-hook, to the norm of that optimizer's gradients. No host read.

    A loop that clips tighter is left alone: its gradients are below the limit already.
    """

    def __init__(self, max_norm: float | None = None) -> None:
        self.max_norm = max_norm
        """``None``: no limit."""

    def tighter_of(self, max_norm: float) -> float:
        """What the loop's own ``max_norm`` comes to under this limit."""
        return max_norm if self.max_norm is None else min(max_norm, self.max_norm)

    @torch.no_grad()
    def apply(self, optimizer: Optimizer) -> None:
        """Clip in place; nothing happens without a limit, without gradients, and for LBFGS."""
        if self.max_norm is None or isinstance(optimizer, LBFGS):
            return
        owners = [parameter for parameter in parameters_of(optimizer) if parameter.grad is not None]
        gradients = [parameter.grad for parameter in owners if parameter.grad is not None]
        if not gradients:
            return
        norm = torch.nn.utils.get_total_norm(gradients)
        # A fused optimizer under a GradScaler divides inside its kernel: here its gradients are still scaled.
        scale = getattr(optimizer, "grad_scale", None)
        if isinstance(scale, Tensor):
            norm = norm / scale.to(norm.device)
        torch.nn.utils.clip_grads_with_norm_(owners, self.max_norm, norm)
