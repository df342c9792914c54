"""A client for scripts and notebooks: runs, incidents and observations of a service, as Python objects.

Needs httpx and pydantic, which every trainer has; neither torch nor the libraries of the service. What the service
answers is read into the very models that it was written from (`monitor_server.answers`); numbers come as a pandas
`DataFrame` where pandas is installed, else as a dictionary of columns. See `docs/client.md`.
"""

from monitor_server.client.client import Client
from monitor_server.client.connection import (
    Busy,
    NotAllowed,
    NotFound,
    NotTrainguard,
    Refused,
    ServiceError,
    Unreachable,
)
from monitor_server.client.live import LiveEvent

__all__ = [
    "Busy",
    "Client",
    "LiveEvent",
    "NotAllowed",
    "NotFound",
    "NotTrainguard",
    "Refused",
    "ServiceError",
    "Unreachable",
]
