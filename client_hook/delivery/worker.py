"""The one thread that judges, packs, sends and receives, so that the training thread does none of it."""

from __future__ import annotations

import atexit
import enum
import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID, uuid4

from pydantic import ValidationError

from client_hook.delivery.chronicle import Chronicle
from client_hook.delivery.forking import make_inert_after_fork
from client_hook.delivery.outbox import Item, Outbox
from client_hook.delivery.pace import Pace
from client_hook.delivery.packing import Addressee, is_message, pack, unpack
from client_hook.delivery.parcels import Parcels
from client_hook.delivery.spool import Spool, Spooled
from client_hook.delivery.transport import (
    NotAReceipt,
    Rejected,
    ServerBusy,
    TooLarge,
    Transport,
    TransportError,
    Unauthorized,
    UnknownRun,
)
from trainguard.wire import Envelope, Observation, Receipt, RunDescription, RunState, WireModel

_logger = logging.getLogger("trainguard")

JUDGE_EVERY_SECONDS = 0.1
"""How long an observation may lie before the detectors see it; looking costs microseconds."""

JUDGE_AT_OBSERVATIONS = 64
"""A fast loop does not wait for that: small helpings, because judging shares the interpreter with the training."""

JUDGED_AT_A_TIME = 256
"""Of what has piled up behind a slow service: so much is unfolded at a time."""

EXIT_SECONDS = 2.0
"""The most that an interpreter waits for us at its exit where nobody called ``close``."""

SPILL_EVERY_SECONDS = 5.0
"""While the service does not answer, what a ``kill -9`` costs at most; each time the disk is waited for."""

LEAVE_SECONDS = 1.0
"""What `close` gives the thread beyond its time to leave what it is in, and to write its spool.

An interpreter that ends under a thread in compiled code (pydantic's) aborts: a training that went well exits with -6.
"""

HEAD = frozenset({"wire_version", "run_id", "sender", "sequence", "sent_at", "attempt", "revision", "state"})
"""The fields of an envelope that belong to none of its messages."""


class Standing(Protocol):
    """Where the trainer stands when an envelope is packed."""

    attempt: int
    revision: int
    run_state: RunState


class Complain(Protocol):
    """Says ``message % arguments`` to a person; the same ``kind`` not too often."""

    def __call__(self, kind: str, message: str, *arguments: object) -> object:
        """As `logging.Logger.warning`, after the kind."""
        ...


class _Sending(enum.Enum):
    """What came of one attempt to send."""

    DELIVERED = enum.auto()
    AGAIN = enum.auto()
    """The obstacle is out of the way (a refused envelope is in parts now): try again at once."""
    HELD = enum.auto()
    """Nothing more before the pace says so."""


@dataclass(frozen=True)
class Status:
    """How delivery is doing, for a person."""

    envelopes_sent: int
    """Those receipted."""
    messages_waiting: int
    observations_lost: int
    reports_lost: int
    last_error: str
    """Empty while the service answers."""


class Worker:
    """Takes items from the outbox in order, lets ``on_items`` judge them, and delivers what is to be said.

    ``on_items`` gets everything that was put, and returns further messages for the envelope and whether it
    should leave at once. ``on_receipt`` gets every receipt. Both run on this worker's thread; an exception of
    theirs is complained about and costs no message. Without a transport the judging still takes place, and
    what would be sent is forgotten.

    An envelope is sent, the same object again and again, until it is receipted: at least once, and because
    the service knows ``(run, sender, sequence)``, exactly once in effect. However long the service is away,
    what waits is bounded by the outbox's bounds twice over (before and after judging) and one envelope, a few MiB. With
    a ``spool``, what waits while the service does not answer goes to disk every ``SPILL_EVERY_SECONDS``, and what is
    undelivered at the end stays there for the next process.

    ``clock`` is the wall clock that stamps envelopes, ``monotonic`` the one that paces them.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        transport: Transport | None,
        description: RunDescription,
        sender: UUID,
        standing: Standing,
        on_items: Callable[[list[Item]], tuple[Sequence[WireModel], bool]],
        on_receipt: Callable[[Receipt], None],
        complain: Complain | None = None,
        spool: Spool | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._transport = transport
        self._description = description
        self._sender = sender
        self._standing = standing
        self._on_items = on_items
        self._on_receipt = on_receipt
        self._complain: Complain = complain or _warn
        self._clock = clock
        self._monotonic = monotonic
        self._pace = Pace(monotonic)
        self._parcels = Parcels(
            Addressee(description.run_id, sender),
            max_observations=outbox.max_observations,
            max_reports=outbox.max_reports,
            drop=self._say_it_cannot_travel,
        )
        self._spool = spool
        # Envelopes for the spool have a sender of their own: they are numbered when they are written, and what is
        # sent around them meanwhile is numbered by itself.
        self._spooling = Addressee(description.run_id, uuid4())
        self._spooled = 0
        self._spilled_at = float("-inf")
        self._damage_said = 0
        self._strangers: set[UUID] = set()
        self._chronicle = Chronicle()
        self._registered: RunDescription | None = None
        self._is_hurried = False
        self._state_told: RunState = "running"
        self._losses_said = 0
        self._sent = 0
        self._last_error = ""
        self._is_inert = False
        self._is_closing = False
        self._is_exit_watched = False
        self._close_before = float("inf")
        self._woken = threading.Event()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        outbox.wake_at(JUDGE_AT_OBSERVATIONS, self._woken.set)
        make_inert_after_fork(self)

    # -- what the training thread calls -------------------------------------------------------------------------

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def status(self) -> Status:
        """How delivery is doing."""
        return Status(
            envelopes_sent=self._sent,
            messages_waiting=len(self._outbox) + self._parcels.count,
            observations_lost=self._observations_lost() + (self._spool.observations_lost if self._spool else 0),
            reports_lost=self._outbox.reports_lost + self._parcels.reports_lost,
            last_error=self._last_error,
        )

    def start(self) -> None:
        """Begin, unless it was begun before, is closed, or this is a forked child."""
        if self._is_inert or self._is_closing or self.is_alive:
            return
        thread = threading.Thread(target=self._run, name="trainguard-delivery", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the machine's limit of threads; there may be room at the next step
            self._complain("thread", "nothing can be judged or delivered now: %s", error)
            return
        self._thread = thread
        self._watch_exit()

    def wake(self) -> None:
        """Send what waits at once (as soon as a service that does not answer may be asked again)."""
        self._is_hurried = True
        self._woken.set()

    def describe(self, **told: Any) -> None:
        """Let the service know more of the run (fields of its description), before the next envelope."""
        if any(getattr(self._description, name) != value for name, value in told.items()):
            self._description = self._description.model_copy(update=told)

    def exchange(self) -> None:
        """One whole round on the caller's thread: judge, send everything, receive. Never together with `start`.

        What ``on_items`` and ``on_receipt`` were given, they were given before this returns. Where the service
        does not answer, this waits for the transport's deadline, and then not again before the pace says so.
        """
        if self._is_inert or self._is_closing:
            return
        self._watch_exit()
        with self._lock:
            self._judge()
            if self._transport is None or (self._pace.is_failing and self._pace.seconds_until_due() > 0):
                return
            while self._send(self._transport) is not _Sending.HELD and not self._is_empty:
                pass

    def close(self, timeout: float) -> None:
        """Judge and deliver what remains, the run's last state included, and end; within ``timeout`` seconds.

        A thread that is still busy then is given `LEAVE_SECONDS` to leave off, and what it waits for is cut off.
        A service that was known to be out of reach is tried once more only.
        """
        if self._is_inert or self._is_closing:
            return
        self._close_before = time.monotonic() + timeout
        self._is_closing = True
        self._woken.set()
        atexit.unregister(self._at_exit)
        if not self.is_alive:
            self._finish()
        elif self._thread is not None:
            self._thread.join(timeout)
            self._over.set()  # where it still waits for an answer, this is its last attempt
            if self._thread.is_alive():
                if self._transport is not None:
                    self._transport.interrupt()
                self._thread.join(LEAVE_SECONDS)

    def after_fork_in_child(self) -> None:
        """The thread stayed behind, and run and connection belong to the parent: do nothing from now on."""
        self._is_inert = True
        self._thread = None
        self._lock = threading.Lock()
        self._woken, self._over = threading.Event(), threading.Event()

    # -- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_closing:
            self._woken.wait(min(JUDGE_EVERY_SECONDS, self._seconds_until_due()))
            self._woken.clear()
            try:
                with self._lock:
                    self._round()
            except Exception as fault:  # a bug of ours must not end the watching
                self._pace.failed()
                self._note("a fault in delivery", f"{type(fault).__name__}: {fault}")
        self._finish()

    def _round(self) -> None:
        # Looked at before the outbox is emptied: whoever hurries from here on gets a round of his own.
        if self._is_hurried:
            self._is_hurried = False
            self._pace.hurry()
        self._judge()
        if self._transport is not None and self._pace.seconds_until_due() <= 0:
            outcome = self._send(self._transport)
            if outcome is _Sending.AGAIN or (outcome is _Sending.DELIVERED and not self._is_empty):
                self._pace.hurry()

    def _seconds_until_due(self) -> float:
        return JUDGE_EVERY_SECONDS if self._transport is None else self._pace.seconds_until_due()

    def _finish(self) -> None:
        with self._lock:
            self._judge()
            if self._transport is not None:
                self._deliver_the_rest(self._transport)
                self._transport.close()

    def _deliver_the_rest(self, transport: Transport) -> None:
        was_reachable = not self._pace.is_failing
        self._pace.forgive()
        while not self._is_empty or self._state_told != self._standing.run_state:
            if time.monotonic() > self._close_before or self._over.is_set():
                break
            if self._send(transport) is _Sending.HELD:
                wait = self._pace.seconds_until_due()
                if not was_reachable or time.monotonic() + wait > self._close_before:
                    break
                self._over.wait(wait)
        if self._spool is not None and (not self._parcels.is_empty or self._state_told != self._standing.run_state):
            self._spill(is_last=True)
        self._say_what_remains()

    def _seconds_left(self) -> float | None:
        """For one call of the transport; ``None`` as long as nobody closes."""
        if not self._is_closing:
            return None
        return max(self._close_before - time.monotonic(), 0.01)

    def _watch_exit(self) -> None:
        # Not before there is something to end: an `attach` that failed leaves nothing behind.
        if not self._is_exit_watched:
            self._is_exit_watched = True
            atexit.register(self._at_exit)

    def _at_exit(self) -> None:
        self.close(EXIT_SECONDS)

    # -- one round ----------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        for items in self._outbox.portions(JUDGED_AT_A_TIME):
            self._judge_these(items)

    def _judge_these(self, items: list[Item]) -> None:
        messages: Sequence[WireModel] = ()
        flush_now = False
        try:
            messages, flush_now = self._on_items(items)
        except Exception as fault:
            self._complain("judging", "what was measured could not be judged: %s: %s", type(fault).__name__, fault)
        if self._transport is None:
            return
        self._chronicle.note(items)
        self._parcels.add(item for item in items if is_message(item))
        self._parcels.add(messages)
        if flush_now or self._parcels.is_half_full:
            # The pace is a service's wish to be asked rarely, not to have a fast training's numbers dropped.
            self._pace.hurry()
        if self._pace.is_failing and self._monotonic() - self._spilled_at >= SPILL_EVERY_SECONDS:
            self._spill()
        self._say_what_was_lost()

    def _send(self, transport: Transport) -> _Sending:
        was_registered = self._registered is self._description
        spooled: Spooled | None = None
        try:
            if not was_registered and not self._register(transport):
                return _Sending.HELD
            spooled = self._oldest_spooled()
            envelope = self._envelope() if spooled is None else spooled.envelope
            receipt = transport.send(envelope, timeout_seconds=self._seconds_left())
            _check(receipt, envelope)
        except ValidationError as error:
            return self._refused(error, _field(error))
        except Rejected as error:
            return self._refused(error, error.field) if spooled is None else self._refused_spooled(spooled, error)
        except UnknownRun as error:
            if spooled is not None and spooled.run.run_id != self._description.run_id:
                return self._introduce(spooled, transport)
            self._registered = None
            if was_registered:
                if self._sent:
                    self._parcels.add_first(self._chronicle.tell())
                return _Sending.AGAIN
            self._failed(error)  # forgotten as soon as it was told
            return _Sending.HELD
        except Exception as error:
            self._failed(error)
            return _Sending.HELD
        self._delivered(envelope, receipt, spooled)
        return _Sending.DELIVERED

    @property
    def _is_empty(self) -> bool:
        return self._parcels.is_empty and (self._spool is None or self._spool.is_empty)

    def _observations_lost(self) -> int:
        """Those that this process's envelopes tell of; the spool's own tell of what it dropped."""
        return self._outbox.observations_lost + self._parcels.observations_lost

    # -- the spool ----------------------------------------------------------------------------------------------

    def _oldest_spooled(self) -> Spooled | None:
        """The envelope on disk whose turn it is: older than all that waits in memory, unless that is in parts."""
        if self._spool is None or self._parcels.is_urgent:
            return None
        oldest = self._spool.oldest()
        if self._spool.damaged > self._damage_said:
            self._damage_said = self._spool.damaged
            self._complain("damaged", "%d lines of the spool file could not be read and are lost", self._damage_said)
        return oldest

    def _spill(self, *, is_last: bool = False) -> None:
        """Let everything that waits be written to disk, the envelope under way first, as the very same."""
        spool = self._spool
        if spool is None:
            return
        self._spilled_at = self._monotonic()
        if self._parcels.is_urgent and not spool.is_empty:
            return  # what is in parts is older than what lies there, and cannot go behind it
        try:
            underway = self._parcels.underway
            if underway is not None:
                spool.append(underway)
                self._parcels.receipted()  # by the disk; its number is used
            while (items := self._parcels.take()) or (is_last and self._state_told != self._standing.run_state):
                self._spill_items(spool, items)
                if not items:
                    break  # it was only to say how the run ended
        except OSError as error:
            self._complain("spool", "what waits stays in memory: the spool file cannot be written (%s)", error)

    def _spill_items(self, spool: Spool, items: list[Item]) -> None:
        envelope = pack(
            items,
            self._spooling,
            sequence=self._spooled + 1,
            sent_at=self._clock(),
            attempt=self._standing.attempt,
            revision=self._standing.revision,
            state=self._standing.run_state,
            observations_lost=0,
            drop=self._say_it_cannot_travel,
        )
        try:
            spool.append(envelope)
        except OSError:
            self._parcels.put_back(items)
            raise
        self._spooled += 1

    def _introduce(self, spooled: Spooled, transport: Transport) -> _Sending:
        """A run of before, in the same folder, that the service does not know."""
        if spooled.run.run_id in self._strangers:
            return self._drop_spooled(spooled, "the service does not keep its run")
        self._strangers.add(spooled.run.run_id)
        try:
            transport.register(spooled.run, timeout_seconds=self._seconds_left())
        except Rejected as error:
            return self._drop_spooled(spooled, f"the service refuses its run: {error}")
        except Exception as error:
            self._strangers.discard(spooled.run.run_id)
            self._failed(error)
            return _Sending.HELD
        return _Sending.AGAIN

    def _refused_spooled(self, spooled: Spooled, error: Rejected) -> _Sending:
        """Ours goes the way of every refused envelope, in parts; another run's cannot, under our name."""
        if spooled.run.run_id != self._description.run_id:
            return self._drop_spooled(spooled, str(error))
        if self._spool is not None:
            self._spool.delivered()
        self._parcels.add_first(unpack(spooled.envelope))
        return _Sending.AGAIN

    def _drop_spooled(self, spooled: Spooled, why: str) -> _Sending:
        if self._spool is not None:
            self._spool.delivered()
        rows = sum(len(block.steps) for block in spooled.envelope.blocks)
        self._complain("spooled", "%d observations of run %s are dropped: %s", rows, spooled.run.run_id, why)
        return _Sending.AGAIN

    def _register(self, transport: Transport) -> bool:
        description = self._description
        try:
            transport.register(description, timeout_seconds=self._seconds_left())
        except Rejected as error:
            # Not a matter of this envelope: no splitting of it would help.
            self._note("description", f"the service refuses the run's description: {error}")
            self._pace.hold(self._pace.SLOW_RETRY_SECONDS)
            return False
        self._registered = description
        return True

    def _envelope(self) -> Envelope:
        return self._parcels.envelope(
            sent_at=self._clock(),
            attempt=self._standing.attempt,
            revision=self._standing.revision,
            state=self._standing.run_state,
            observations_lost=self._observations_lost(),
        )

    def _delivered(self, envelope: Envelope, receipt: Receipt, spooled: Spooled | None) -> None:
        if self._last_error:
            _logger.info("the service answers again")
        self._last_error = ""
        self._sent += 1
        if spooled is None:
            self._state_told = envelope.state
            self._parcels.receipted()
        elif self._spool is not None:
            self._spool.delivered()
        # Whatever the pace, the lease that each receipt renews must not run out in between.
        self._pace.succeeded(min(receipt.flush_seconds, receipt.lease_seconds / 2))
        try:
            self._on_receipt(receipt)
        except Exception as fault:
            self._complain("receipt", "a receipt could not be taken in: %s: %s", type(fault).__name__, fault)

    def _failed(self, error: Exception) -> None:
        kind = type(error).__name__
        self._note(kind, str(error) if isinstance(error, TransportError) else f"{kind}: {error}")
        if isinstance(error, Unauthorized):
            self._pace.hold(self._pace.SLOW_RETRY_SECONDS)
        elif isinstance(error, ServerBusy) and error.retry_after is not None:
            self._pace.hold(max(error.retry_after, self._pace.FIRST_RETRY_SECONDS))
        else:
            # Anything from a lost connection to a bug of the transport; the service may have recorded it.
            self._parcels.in_doubt()
            self._pace.failed()

    def _refused(self, error: Rejected | ValidationError, field: str) -> _Sending:
        if self._parcels.is_bare or _is_about_the_head(field):
            self._parcels.repack()
            self._note("head", f"the service refuses this trainer's envelopes as such: {error}")
            self._pace.hold(self._pace.SLOW_RETRY_SECONDS)
            return _Sending.HELD
        dropped = self._parcels.refused(too_large=isinstance(error, TooLarge))
        for kind in sorted({type(item).__name__ for item in dropped}):
            self._complain(
                f"refused {kind}",
                "the service refuses %d × %s, dropped: %s; first: %s",
                sum(type(item).__name__ == kind for item in dropped),
                kind,
                error,
                next(item for item in dropped if type(item).__name__ == kind),
            )
        return _Sending.AGAIN

    # -- what a person is told ----------------------------------------------------------------------------------

    def _note(self, kind: str, error: str) -> None:
        self._last_error = error
        self._complain(
            kind, "%s. The training goes on; %d messages wait to be delivered", error, self.status.messages_waiting
        )

    def _say_it_cannot_travel(self, row: Observation, error: ValidationError) -> None:
        why = error.errors(include_url=False, include_input=False)[0]["msg"]
        self._complain("cannot travel", "step %d cannot be sent, dropped: %s: %s", row.step, _field(error), why)

    def _say_what_was_lost(self) -> None:
        status = self.status
        lost = status.observations_lost + status.reports_lost
        if lost > self._losses_said:
            self._losses_said = lost
            self._complain(
                "lost",
                "%d observations and %d other messages were dropped so far: there was no room for more",
                status.observations_lost,
                status.reports_lost,
            )

    def _say_what_remains(self) -> None:
        waiting = self.status.messages_waiting
        if self._spool is not None and not self._spool.is_empty and not waiting:
            self._complain(
                "undelivered",
                "closed while the service does not answer%s; what it was not told is kept, and sent at the next start",
                f": {self._last_error}" if self._last_error else "",
            )
        elif waiting or self._state_told != self._standing.run_state:
            self._complain(
                "undelivered",
                "closed with %d messages undelivered%s",
                waiting,
                f": {self._last_error}" if self._last_error else "",
            )


def _check(receipt: Receipt, envelope: Envelope) -> None:
    if (receipt.run_id, receipt.sender) != (envelope.run_id, envelope.sender) or receipt.sequence < envelope.sequence:
        raise NotAReceipt(
            f"the receipt is for sequence {receipt.sequence} of sender {receipt.sender}, "
            f"not for {envelope.sequence} of {envelope.sender}"
        )


def _field(error: ValidationError) -> str:
    return ".".join(map(str, error.errors(include_url=False, include_input=False)[0]["loc"]))


def _is_about_the_head(field: str) -> bool:
    words = [word for word in re.findall(r"\w+", field) if word not in ("body", "envelope")]
    return bool(words) and words[0] in HEAD


def _warn(kind: str, message: str, *arguments: object) -> None:
    _logger.warning(message, *arguments)
