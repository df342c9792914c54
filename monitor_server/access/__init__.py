"""Who may come in: bearer tokens, what each may do, and how often.

`secrets` makes tokens and tells a right one from a wrong one, `keeper` stands at the door of every request, `paces`
counts how often somebody comes. Nothing here knows routes. Without any token nobody has to sign in; the service then
listens on this machine alone, see `keeper.require_a_reason_to_be_open`.
"""

from monitor_server.access.caller import SCOPES, Caller, Scope
from monitor_server.access.keeper import Forbidden, Keeper, NotSignedIn, TooManyRequests, require_a_reason_to_be_open
from monitor_server.access.secrets import MadeToken, make_token, renew_token

__all__ = [
    "SCOPES",
    "Caller",
    "Forbidden",
    "Keeper",
    "MadeToken",
    "NotSignedIn",
    "Scope",
    "TooManyRequests",
    "make_token",
    "renew_token",
    "require_a_reason_to_be_open",
]
