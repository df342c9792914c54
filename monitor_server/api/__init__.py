"""The doors: thin routes that read, ask the pipeline or the storage, and answer. No judgement and no SQL here.

Everything lies under ``/api/v1`` but health and metrics. A body is bounded before it is believed, NaN is written
as a string, and whatever goes wrong is a problem+json that names the field. A new route is a file with a
`router`, and a line in `ROUTERS`.
"""

from monitor_server.api import (
    advice,
    annotating,
    audit,
    commands,
    envelopes,
    events,
    export,
    fleet,
    health,
    history,
    incidents,
    layers,
    observations,
    playbooks,
    registration,
    runs,
    session,
    silences,
    tokens,
)
from monitor_server.api.known_hosts import KnownHosts
from monitor_server.api.openapi import document
from monitor_server.api.problems import HANDLERS
from monitor_server.api.readiness import Readiness
from monitor_server.api.request_ids import RequestIds
from monitor_server.api.service import PREFIX, Service

ROUTERS = (
    registration.router,
    envelopes.router,
    runs.router,
    observations.router,
    layers.router,
    history.router,
    incidents.router,
    advice.router,
    commands.router,
    silences.router,
    events.router,
    fleet.router,
    session.router,
    tokens.router,
    audit.router,
    annotating.router,
    playbooks.router,
    export.router,
    health.router,
)

__all__ = ["HANDLERS", "PREFIX", "ROUTERS", "KnownHosts", "Readiness", "RequestIds", "Service", "document"]
