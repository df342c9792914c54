"""Diagnosis: why an incident may have happened and what a person should do, and what a set-up invites.

`SetUp` reads how a run was configured, `Symptoms` is one incident beside it, and every function in
`causes.CAUSES` says what speaks for one cause, or nothing. `diagnose` ranks what they say and is a stage of
policy. `advise` checks the set-up alone, before anything has gone wrong. Pure, like all of policy: a new cause is
a function in a file of `causes` and a line in its table; a new check is the same in `checks`.
"""

from trainguard.policy.diagnosis.advice import Advice
from trainguard.policy.diagnosis.checks import advise
from trainguard.policy.diagnosis.ranking import hypotheses
from trainguard.policy.diagnosis.set_up import SetUp, Task
from trainguard.policy.diagnosis.stage import diagnose
from trainguard.policy.diagnosis.symptoms import Symptoms

__all__ = ["Advice", "SetUp", "Symptoms", "Task", "advise", "diagnose", "hypotheses"]
