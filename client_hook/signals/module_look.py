"""A look at what a module gives back, from inside somebody's forward pass."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn


class ModuleLook:
    """A forward hook that sees nothing inside a ``torch.compile``d region or a trace, nor where there are no gradients.

    It belongs to this training. A copy of the module (an average of weights) or one that is saved whole with
    ``torch.save(model)`` has in its place something of Python's own that does nothing: a closure could not be saved,
    and who loads the file need not have us installed.
    """

    def __init__(self, look: Callable[[Any], object]) -> None:
        self._look = look

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """As torch calls a forward hook."""
        is_traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if is_traced or not torch.is_grad_enabled():
            return
        with torch.no_grad():
            self._look(output)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (nullcontext(), "__exit__")
