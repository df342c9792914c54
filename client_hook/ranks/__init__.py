"""What several processes that train one model need in order to be one run: words between them, and no collective.

`Board` is the process group's store, read without ever waiting for a key. `Courier` is the one thread per rank
that touches it, so that the training thread never hangs in somebody's network. `Ranks` is what one process knows of
the others. Rank 0 leads: it has the journal, the detectors and the service; the others follow.

No decision lives here, and no collective: what all ranks agree on is in `client_hook.recovery.agreement`, what they
measured is put together in `client_hook.delivery.gathering`.
"""

from client_hook.ranks.board import Board, BoardUnreachable
from client_hook.ranks.courier import Courier
from client_hook.ranks.group import Ranks, rank_and_size
from client_hook.ranks.patience import Patience

__all__ = ["Board", "BoardUnreachable", "Courier", "Patience", "Ranks", "rank_and_size"]
