"""Checkpoints that a user made before, in a form of his own: read by his own function, kept as one of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from client_hook.recovery.errors import CheckpointInvalid, RestoreFailed
from client_hook.recovery.snapshot import Snapshot, TrainingState


def snapshot_of_foreign(state: TrainingState, read: Callable[[], object]) -> Snapshot:
    """What the training is once ``read`` has put somebody's checkpoint into it; afterwards it is as it was.

    ``read`` works on the live objects, as it does in the user's own script. ``optimizer.load_state_dict`` leaves
    other groups and another state behind, so those that the loop holds are put in their places again.

    Raises:
        CheckpointInvalid: ``read`` raised, or what it made does not fit or is not finite; the training is untouched.
        RestoreFailed: the training could not be put back.
    """
    before = state.capture()
    own = [(optimizer, optimizer.param_groups, optimizer.state) for optimizer in state.optimizers]
    try:
        read()
        foreign = state.capture()
    except Exception as error:
        raise CheckpointInvalid(f"it could not be read ({type(error).__name__}: {error})") from error
    finally:
        for optimizer, groups, values in own:
            optimizer.param_groups, optimizer.state = groups, values
        _put_back(state, before)
    state.validate(foreign)
    return foreign


def _put_back(state: TrainingState, before: Snapshot) -> None:
    gradients: list[Any] = [(parameter, parameter.grad) for parameter in state.model.parameters()]
    try:
        state.restore(before)
    except CheckpointInvalid as error:
        raise RestoreFailed(f"the training could not be put back as it was: {error}") from error
    for parameter, gradient in gradients:
        parameter.grad = gradient
