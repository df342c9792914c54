"""The postman: brings what the trainer has to say to the service, and its receipts back.

Here live the outbox (what the training thread writes into, and nothing else of this folder it touches), the
packing of envelopes, the transport that carries one, and the worker thread that does it all in order. What an
item means is not known here: detectors run in a function the worker is given. Nothing starts at import, httpx
is imported by the first request, every queue is bounded, every wait has a deadline and every loss is counted.

To add another way to carry envelopes, write a class with the three methods of `Transport`, and let the tests
in ``tests/client_hook/delivery`` run over it.
"""

from client_hook.delivery.http_transport import HttpTransport
from client_hook.delivery.outbox import Item, Outbox
from client_hook.delivery.spool import Spool
from client_hook.delivery.transport import (
    MemoryTransport,
    NotAReceipt,
    Rejected,
    ServerBusy,
    Transport,
    TransportError,
    Unauthorized,
    UnknownRun,
    Unreachable,
)
from client_hook.delivery.worker import EXIT_SECONDS, Status, Worker

__all__ = [
    "EXIT_SECONDS",
    "HttpTransport",
    "Item",
    "MemoryTransport",
    "NotAReceipt",
    "Outbox",
    "Rejected",
    "ServerBusy",
    "Spool",
    "Status",
    "Transport",
    "TransportError",
    "Unauthorized",
    "UnknownRun",
    "Unreachable",
    "Worker",
]
