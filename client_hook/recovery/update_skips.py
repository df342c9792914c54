"""Updates that are left out on purpose, for a few steps."""

from __future__ import annotations

from torch.optim import Optimizer

from client_hook.recovery.update_guard import take_gradients_away


class UpdateSkips:
    """Asked in every optimizer step pre-hook; counted in observations, since a GAN makes several updates in each."""

    def __init__(self) -> None:
        self.to_skip = 0
        """Observations whose updates are still to be left out."""

    def skip(self, updates: int) -> None:
        """Leave out ``updates`` more."""
        self.to_skip += updates

    def take_away(self, optimizer: Optimizer) -> bool:
        """Take the gradients away if this update is to be skipped; returns whether it is."""
        if not self.to_skip:
            return False
        take_gradients_away(optimizer)
        return True

    def advance(self) -> None:
        """An observation was made."""
        if self.to_skip:
            self.to_skip -= 1
