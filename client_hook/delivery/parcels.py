"""What waits to be delivered, numbered and in order, and what becomes of an envelope that is refused."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from pydantic import ValidationError

from client_hook.delivery.folding import Folded, folded, folded_report, unfolded
from client_hook.delivery.outbox import Item, Outbox
from client_hook.delivery.packing import MAX_OBSERVATIONS, MAX_REPORTS, Addressee, pack
from trainguard.wire import Envelope, Observation, RunState


class Parcels:
    """One envelope at a time is under way, and it stays the very same object until it is receipted or refused.

    A refused one is sent again in halves, and so on until the offender stands alone and only it is dropped: a
    single bad number must not cost an acknowledgement its way. After ``MAX_REFUSALS`` refusals of what was
    once one envelope the observations of a refused part go together, because ten thousand bad ones would cost
    twenty thousand requests; reports are always judged one by one.

    A refused envelope was not recorded, so its number is used again. Only where an earlier sending of it ended
    in doubt may its number stand in the service's books, and then what is sent in its stead gets a new one:
    under the old number it would be taken for a duplicate and be lost.
    """

    MAX_REFUSALS = 200
    FEWEST_OBSERVATIONS = 100
    """However little the service takes at a time, envelopes never begin smaller than this."""
    MOST_REPORT_BYTES = 1024 * 1024
    """Some 2,000 findings and incidents, packed."""
    SPOOLED_OBSERVATIONS = 2_000
    """The most in an envelope that is handed over to the spool: it is read back whole."""

    def __init__(
        self,
        to: Addressee,
        *,
        max_observations: int,
        max_reports: int,
        drop: Callable[[Observation, ValidationError], None],
    ) -> None:
        self.sequence = 1
        """The number of the envelope that is under way, or of the next one."""
        self.observations_refused = 0
        self.reports_refused = 0
        self._to = to
        self._drop = drop
        # All of it folded, under way and in parts as well: a service may be away for days.
        self._waiting = Outbox(max_observations, max_reports, loose_numbers=0, max_report_bytes=self.MOST_REPORT_BYTES)
        self._parts: deque[list[Item]] = deque()
        self._underway: Envelope | None = None
        self._items: list[Item] = []
        self._is_in_doubt = False
        self._observations_per_envelope = MAX_OBSERVATIONS
        self._refusals = 0

    def add(self, messages: Iterable[Item]) -> None:
        """Append; at its bound the oldest observations go, counted."""
        self._waiting.extend(messages)

    def add_first(self, messages: list[Item]) -> None:
        """Let these go next, in an envelope of their own behind the one under way."""
        self._put_first([folded(item) if type(item) is Observation else folded_report(item) for item in messages])

    @property
    def is_empty(self) -> bool:
        """Whether everything was delivered."""
        return self._underway is None and not self._parts and not len(self._waiting)

    @property
    def is_half_full(self) -> bool:
        """Whether half the room for what waits is taken."""
        return self._waiting.is_half_full

    @property
    def count(self) -> int:
        """How many messages wait, those under way included."""
        return len(self._items) + sum(map(len, self._parts)) + len(self._waiting)

    @property
    def is_bare(self) -> bool:
        """Whether the envelope under way carries no message, so that a refusal is about its head."""
        return not self._items

    @property
    def is_urgent(self) -> bool:
        """Whether something is under way or in parts: older than all that waits, here and elsewhere."""
        return self._underway is not None or bool(self._parts) or bool(self._items)

    @property
    def underway(self) -> Envelope | None:
        """The envelope under way."""
        return self._underway

    def take(self) -> list[Item]:
        """Give away the oldest that wait, as many as fit an envelope for the spool; none under way."""
        if self._parts:
            return [unfolded(item) for item in self._parts.popleft()]
        return self._waiting.take(min(self._observations_per_envelope, self.SPOOLED_OBSERVATIONS), MAX_REPORTS)

    def put_back(self, items: list[Item]) -> None:
        """What was taken could not be kept elsewhere; the bounds hold."""
        self._waiting.put_back(items)

    @property
    def observations_lost(self) -> int:
        """Dropped here, for want of room or because they were refused."""
        return self._waiting.observations_lost + self.observations_refused

    @property
    def reports_lost(self) -> int:
        """The same for all other messages."""
        return self._waiting.reports_lost + self.reports_refused

    def envelope(
        self, *, sent_at: float, attempt: int, revision: int, state: RunState, observations_lost: int
    ) -> Envelope:
        """The one under way, or a new one of the oldest messages, which is then under way.

        Raises
        ------
        ValidationError
            Where the messages do not make an envelope; then treat it as `refused`.
        """
        if self._underway is None:
            self._items = self._items or self._next_items()
            items = [unfolded(item) for item in self._items]
            unsound: set[int] = set()

            def leave_out(row: Observation, error: ValidationError) -> None:
                unsound.add(id(row))
                self._drop(row, error)

            self._underway = pack(
                items,
                self._to,
                sequence=self.sequence,
                sent_at=sent_at,
                attempt=attempt,
                revision=revision,
                state=state,
                observations_lost=observations_lost,
                drop=leave_out,
            )
            if unsound:
                self.observations_refused += len(unsound)
                self._items = [kept for kept, item in zip(self._items, items) if id(item) not in unsound]
        return self._underway

    def receipted(self) -> None:
        """The envelope under way is in the service's database."""
        self.sequence += 1
        self._forget()

    def in_doubt(self) -> None:
        """The envelope under way was sent, and nobody knows whether it arrived."""
        self._is_in_doubt = self._underway is not None

    def repack(self) -> None:
        """Something in the head was refused: the same messages get a new head."""
        if self._items:
            self._parts.appendleft(self._items)
        self._renumber()

    def refused(self, *, too_large: bool) -> list[Item]:
        """Split the envelope under way, or drop what cannot be split; what was dropped is returned."""
        items = self._items
        self._renumber()
        self._refusals += 1
        if too_large:
            rows = sum(map(_is_row, items))
            self._observations_per_envelope = max(self.FEWEST_OBSERVATIONS, rows // 2)
        if len(items) > 1 and self._refusals <= self.MAX_REFUSALS:
            self._put_first(items[: len(items) // 2], items[len(items) // 2 :])
            return []
        dropped = [item for item in items if len(items) == 1 or _is_row(item)]
        reports = [item for item in items if len(items) > 1 and not _is_row(item)]
        self._put_first(reports[: len(reports) // 2], reports[len(reports) // 2 :])
        lost = sum(map(_is_row, dropped))
        self.observations_refused += lost
        self.reports_refused += len(dropped) - lost
        return [unfolded(item) for item in dropped]

    def _next_items(self) -> list[Item]:
        if self._parts:
            return self._parts.popleft()
        self._refusals = 0
        return self._waiting.take_folded(self._observations_per_envelope, MAX_REPORTS)

    def _put_first(self, *parts: list[Item]) -> None:
        self._parts.extendleft(part for part in reversed(parts) if part)

    def _renumber(self) -> None:
        if self._is_in_doubt:
            self.sequence += 1
        self._forget()

    def _forget(self) -> None:
        self._underway, self._items, self._is_in_doubt = None, [], False


def _is_row(item: Item) -> bool:
    return type(item) is Observation or type(item) is Folded
