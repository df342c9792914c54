"""What runs inside a trainer: attach the hook to any PyTorch loop, and it keeps the run alive.

import client_hook

hook = client_hook.attach(model, optimizer, run="char-gpt", mode="act", checkpoints="checkpoints/")
for step in hook.steps(10_000):
    ...                      # forward, loss.backward(), optimizer.step()
    hook.observe(loss)
hook.close()
"""

import gc

# Torch leaves half a million objects behind. To look through them for cycles again and again while our classes are made
# takes a quarter of the import.
_was_collecting = gc.isenabled()
gc.disable()
try:
    from client_hook.attachment import attach
    from client_hook.errors import AttachError, TrainingHalted
    from client_hook.hook import TrainingHook
    from client_hook.outcome import StepOutcome
    from client_hook.recovery.checkpoints import FunctionCheckpoints
    from client_hook.recovery.rerun import RerunReport
finally:
    if _was_collecting:
        gc.enable()

__all__ = [
    "AttachError",
    "FunctionCheckpoints",
    "RerunReport",
    "StepOutcome",
    "TrainingHalted",
    "TrainingHook",
    "attach",
]
