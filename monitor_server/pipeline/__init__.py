"""The way of one envelope, from the door to the receipt. `stages.STAGES` is the whole of it, in order.

A stage is a function from a frozen `Case` to the next, and lives in a file of its own; all of them share one
transaction, and the receipt leaves after its commit. Nothing here knows HTTP, and nothing here judges: that
is `trainguard.policy`, whose stages are in the list like every other. A new stage is a file and a line.
"""

from monitor_server.pipeline.attended import acknowledge, comment_on, resolve
from monitor_server.pipeline.by_hand import approve, decline, order
from monitor_server.pipeline.case import Bench, Case
from monitor_server.pipeline.doorkeys import keep_token, renew, revoke
from monitor_server.pipeline.ingest import Ingest, Overloaded
from monitor_server.pipeline.quiet import silence, unsilence
from monitor_server.pipeline.refusals import (
    CommandRefused,
    DescriptionRefused,
    EnvelopeRefused,
    IncidentRefused,
    Refused,
    UnknownIncident,
    UnknownRun,
)
from monitor_server.pipeline.registration import register_run
from monitor_server.pipeline.stages import STAGES
from monitor_server.pipeline.upkeep import annotate, delete_run, set_playbook

__all__ = [
    "STAGES",
    "Bench",
    "Case",
    "CommandRefused",
    "DescriptionRefused",
    "EnvelopeRefused",
    "IncidentRefused",
    "Ingest",
    "Overloaded",
    "Refused",
    "UnknownIncident",
    "UnknownRun",
    "acknowledge",
    "annotate",
    "approve",
    "comment_on",
    "decline",
    "delete_run",
    "keep_token",
    "order",
    "register_run",
    "renew",
    "resolve",
    "revoke",
    "set_playbook",
    "silence",
    "unsilence",
]
