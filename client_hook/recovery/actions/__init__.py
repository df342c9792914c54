"""Actions, one file each. They check first and refuse with a sentence; deciding does not live here.

To add one: a file with a class of `base.Action`, a line in ACTIONS, and its order in `trainguard.wire.command`.
"""

from __future__ import annotations

from typing import Any

from client_hook.recovery.actions.base import Action, Applied
from client_hook.recovery.actions.halt import HaltAction
from client_hook.recovery.actions.loosen_clipping import LoosenClippingAction
from client_hook.recovery.actions.lower_learning_rate import LowerLearningRateAction
from client_hook.recovery.actions.pause import PauseAction
from client_hook.recovery.actions.rerun_test import RerunTestAction
from client_hook.recovery.actions.reset_moments import ResetMomentsAction
from client_hook.recovery.actions.resume import ResumeAction
from client_hook.recovery.actions.rewarm_up import RewarmUpAction
from client_hook.recovery.actions.rollback import RollbackAction, RollbackFailed
from client_hook.recovery.actions.save_now import SaveNowAction
from client_hook.recovery.actions.scale_learning_rate import ScaleLearningRateAction
from client_hook.recovery.actions.set_loss_scale import SetLossScaleAction
from client_hook.recovery.actions.skip_batch import SkipBatchAction
from client_hook.recovery.actions.skip_data_window import SkipDataWindowAction
from client_hook.recovery.actions.skip_update import SkipUpdateAction
from client_hook.recovery.actions.tighten_clipping import TightenClippingAction

__all__ = ["ACTIONS", "Action", "Applied", "RollbackFailed"]

ACTIONS: dict[str, type[Action[Any]]] = {
    "rollback": RollbackAction,
    "lower_learning_rate": LowerLearningRateAction,
    "rewarm_up": RewarmUpAction,
    "reset_moments": ResetMomentsAction,
    "skip_data_window": SkipDataWindowAction,
    "skip_update": SkipUpdateAction,
    "skip_batch": SkipBatchAction,
    "tighten_clipping": TightenClippingAction,
    "loosen_clipping": LoosenClippingAction,
    "scale_learning_rate": ScaleLearningRateAction,
    "set_loss_scale": SetLossScaleAction,
    "pause": PauseAction,
    "resume": ResumeAction,
    "save_now": SaveNowAction,
    "rerun_test": RerunTestAction,
    "halt": HaltAction,
}
"""The closed set of what may be done to a training, by the name that travels."""
