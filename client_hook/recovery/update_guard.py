"""The pre-update guard: a step with non-finite gradients is skipped before it can touch the weights."""

from __future__ import annotations

from dataclasses import dataclass

from torch.optim import LBFGS, Optimizer

from client_hook.recovery.optimizer_state import parameters_of


@dataclass
class UpdateGuard:
    """Asked in every optimizer step pre-hook, where gradients can still be taken away."""

    is_enabled: bool
    """In mode ``act``, or where it was asked for; ``observe`` changes nothing."""

    def prevent(self, optimizer: Optimizer, finite: bool) -> bool:
        """Skip the coming update unless its gradients are ``finite``; returns whether it is skipped.

        Every ``.grad`` of the optimizer is set to ``None``. Zeros would not do: momentum and weight decay move
        weights through them, and the step counts rise. Without gradients the whole update is passed over.

        LBFGS is let through: it makes its gradients in the closure, after this hook, so there is nothing to
        take away here. Its closure has to look for itself.
        """
        if finite or isinstance(optimizer, LBFGS):
            return False
        for parameter in parameters_of(optimizer):
            parameter.grad = None
        return True
