"""What travels from stage to stage, and what every stage may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Connection

from monitor_server.live import LiveMemory, LiveRun
from monitor_server.pipeline.ledger import Ledger
from monitor_server.settings import Settings
from monitor_server.storage import RunRow
from monitor_server.storage.senders import SenderRow
from trainguard.policy import Judgement, Playbook, PolicyMemory, Situation
from trainguard.wire import Acknowledgement, Envelope, Finding, IncidentReport, Observation, Receipt


@dataclass(frozen=True, slots=True)
class Case:
    """One envelope on its way. A stage returns the next case with `dataclasses.replace`."""

    run: RunRow
    """The run's row, locked: as it was before this envelope, and after `settle` as it is now."""
    envelope: Envelope
    now: float
    is_duplicate: bool = False
    """Recorded before: it is answered again, and nothing else happens."""
    last_sequence: int = 0
    attempt: int = 0
    """In force after this envelope."""
    revision: int = 0
    """In force after this envelope."""
    fresh: tuple[Observation, ...] = ()
    """New observations that the detectors are to see, in order."""
    late: tuple[Observation, ...] = ()
    """Observations that came too late for that: history, recorded beside what is long summed up."""
    stored: int = 0
    """Observations that were new to the database, judged or not."""
    lost: int = 0
    """Observations that the sender confesses to have lost since its last envelope."""
    rollbacks: int = 0
    """Attempts reported for the first time that began with a rollback."""
    acknowledgements: tuple[Acknowledgement, ...] = ()
    """New ones: the first answer to a command wins."""
    escalated_locally: tuple[IncidentReport, ...] = ()
    """Incidents that the trainer's local brain could not help with: nobody has told people of them yet."""
    live: LiveRun | None = None
    findings: tuple[Finding, ...] = ()
    """What the service's own panel said about ``fresh``."""
    playbook: Playbook | None = None
    is_playbook_told: bool = False
    """Whether the receipt brings the trainer the playbook that its project's runs go by."""
    situation: Situation | None = None
    remembered: PolicyMemory | None = None
    """What policy knew before this envelope."""
    judgement: Judgement | None = None
    receipt: Receipt | None = None
    """Set by the last stage; it leaves after the commit."""

    @property
    def is_current(self) -> bool:
        """Whether the envelope is of the attempt in force or a newer one, not the late word of an abandoned one."""
        return self.envelope.attempt >= self.run.attempt


@dataclass(frozen=True, slots=True)
class Bench:
    """What stages work with: the transaction, the warm memories that it has taken out, and the settings."""

    connection: Connection
    memory: LiveMemory
    settings: Settings
    taken: dict[UUID, LiveRun] = field(default_factory=dict)
    """Live runs in the hands of this transaction; published after its commit, or thrown away."""
    senders: dict[tuple[UUID, UUID], SenderRow] = field(default_factory=dict)
    """Of this transaction's envelopes, by (run, sender)."""
    ledger: Ledger = field(default_factory=Ledger)
    """What this envelope is still to write; thrown away where the envelope fails."""
    is_silenced: Callable[[UUID, float], bool] = lambda run_id, now: False
    """Whether people do not want to be told of a run now; asked once for all of this transaction's runs."""
    is_together: bool = False
    """The envelope is plain, and nothing of it is written before its neighbours' ledgers are."""

    def live_run(self, run: RunRow) -> LiveRun:
        """The run's detectors: in hand already, warm in memory, or recalled from the database."""
        live = self.taken.get(run.run_id)
        return live if live is not None else self.memory.take(self.connection, run)


Stage = Callable[[Case, Bench], Case]
