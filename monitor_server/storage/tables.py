"""Every table. Keys of what belongs to a run begin with ``run_id``, so that the whole can be distributed by run.

What belongs to no one run (tokens, playbooks, silences, the audit log, events) is small or soon forgotten.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Uuid,
    text,
)
from sqlalchemy.types import TypeEngine

from monitor_server.storage.column_types import Count, Document, SafeText

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

SIGNAL_BITS = {
    "loss": 0,
    "grad_norm": 1,
    "grad_norm_clipped": 2,
    "param_norm": 3,
    "update_norm": 4,
    "update_ratio": 5,
    "learning_rate": 6,
    "lr_scale": 7,
    "loss_scale": 8,
    "nonfinite_grads": 9,
    "nonfinite_params": 10,
    "update_skipped": 11,
    "step_seconds": 12,
}
"""The signals with a column of their own, and each one's bit in ``nan_mask``.

SQLite stores NaN as NULL, which means *not measured*. So a NaN is NULL with its bit set, on both databases
alike. A bit is part of the stored data: it never changes, and a new column takes the next one.
"""

ROLLED_UP: dict[str, type[Double[float]] | type[Integer]] = {
    "minimum": Double,
    "maximum": Double,
    "mean": Double,
    "count": Integer,
    "nans": Integer,
}
"""What a roll-up keeps of a signal, in a column each."""


def _run_id() -> Column[object]:
    return Column("run_id", Uuid(), ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True, nullable=False)


def _number() -> TypeEngine[int]:
    """A number that the database counts up; SQLite does so only for a plain INTEGER."""
    return BigInteger().with_variant(Integer(), "sqlite")


runs = Table(
    "runs",
    metadata,
    Column("run_id", Uuid(), primary_key=True),
    Column("project", SafeText(), nullable=False),
    Column("name", SafeText(), nullable=False),
    Column("mode", String(16), nullable=False),
    # running, finished, halted, failed as the trainer says; silent as housekeeping says
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("lr_scale", Double, nullable=False),
    # the last step judged in the attempt in force; None before the first
    Column("last_step", BigInteger),
    Column("registered_at", Double, nullable=False),
    Column("last_seen_at", Double, nullable=False),
    Column("last_observed_at", Double),
    Column("ended_at", Double),
    # rises with every envelope and every other change: a live memory of another number is stale
    Column("version", Count(), nullable=False),
    Column("observations_total", Count(), nullable=False),
    Column("observations_lost", Count(), nullable=False),
    Column("rollbacks_total", Count(), nullable=False),
    Column("escalations_total", Count(), nullable=False),
    Column("finding_counts", Document, nullable=False),
    Column("last_signals", Document, nullable=False),
    Column("last_decision", SafeText(), nullable=False),
    Column("description", Document, nullable=False),
    Column("policy_memory", Document),
    Index(None, "project", "state"),
    Index(None, "registered_at", "run_id"),
    Index(None, "state", "last_seen_at"),
)

senders = Table(
    "senders",
    metadata,
    _run_id(),
    Column("sender", Uuid(), primary_key=True),
    Column("last_sequence", BigInteger, nullable=False),
    Column("observations_lost", Count(), nullable=False),
    Column("first_seen_at", Double, nullable=False),
    Column("last_seen_at", Double, nullable=False),
)

attempts = Table(
    "attempts",
    metadata,
    _run_id(),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("parent", Integer),
    Column("start_step", BigInteger, nullable=False),
    Column("reason", String(16), nullable=False),
    Column("began_at", Double, nullable=False),
    Column("command_id", Uuid()),
    Column("note", SafeText(), nullable=False),
)

observations = Table(
    "observations",
    metadata,
    _run_id(),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("observed_at", Double, nullable=False),
    # fed to the detectors, in the order of the key; rows that came too late for that are history only
    Column("judged", Boolean(create_constraint=False), nullable=False),
    *(Column(name, Double) for name in SIGNAL_BITS),
    Column("nan_mask", BigInteger, nullable=False, server_default=text("0")),
    Column("extra", Document),
    sqlite_with_rowid=False,
)

rollups = Table(
    "rollups",
    metadata,
    _run_id(),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    # steps in a bucket: of every width the bucket number `bucket` begins at step `bucket * width`
    Column("width", Integer, primary_key=True, autoincrement=False),
    Column("bucket", BigInteger, primary_key=True, autoincrement=False),
    Column("first_step", BigInteger, nullable=False),
    Column("last_step", BigInteger, nullable=False),
    Column("observations", Integer, nullable=False),
    # of the numbers: smallest, largest, mean, how many; and how many were NaN. Infinities are numbers here.
    *(Column(f"{name}_{part}", kind) for name in SIGNAL_BITS for part, kind in ROLLED_UP.items()),
    # the same five of every other signal, by its name
    Column("extra", Document),
    sqlite_with_rowid=False,
)

rollup_backlog = Table(
    # attempts that an upgrade found, and whose roll-ups are not known to be whole: housekeeping makes this empty
    "rollup_backlog",
    metadata,
    _run_id(),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

evaluations = Table(
    "evaluations",
    metadata,
    _run_id(),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("evaluated_at", Double, primary_key=True),
    Column("document", Document, nullable=False),
)

findings = Table(
    "findings",
    metadata,
    _run_id(),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("source", String(16), primary_key=True),
    Column("detector", SafeText(), primary_key=True),
    Column("kind", String(40), primary_key=True),
    Column("severity", String(16), nullable=False),
    Column("onset_step", BigInteger, nullable=False),
    Column("recorded_at", Double, nullable=False),
    Column("document", Document, nullable=False),
)

incidents = Table(
    "incidents",
    metadata,
    _run_id(),
    Column("incident_id", Uuid(), primary_key=True),
    # whose incident it is: the server's own, or one that a trainer's local brain reported
    Column("brain", String(16), nullable=False),
    Column("kind", String(40), nullable=False),
    Column("state", String(16), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("opened_at", Double, nullable=False),
    Column("closed_at", Double),
    Column("document", Document, nullable=False),
    Index(None, "opened_at", "run_id"),
    Index(None, "state", "kind"),
    # people and links name an incident by its id alone
    Index(None, "incident_id"),
)

remarks = Table(
    "remarks",
    metadata,
    _run_id(),
    Column("incident_id", Uuid(), primary_key=True),
    Column("remark_id", Uuid(), primary_key=True),
    # acknowledged, comment, approved, declined, resolved
    Column("kind", String(16), nullable=False),
    Column("made_at", Double, nullable=False),
    Column("made_by", SafeText(), nullable=False),
    Column("comment", SafeText(), nullable=False),
)

decisions = Table(
    "decisions",
    metadata,
    _run_id(),
    Column("decision_id", Uuid(), primary_key=True),
    Column("incident_id", Uuid(), nullable=False),
    Column("decided_at", Double, nullable=False),
    Column("decided_by", String(16), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("document", Document, nullable=False),
    Index(None, "run_id", "decided_at"),
)

commands = Table(
    "commands",
    metadata,
    _run_id(),
    Column("command_id", Uuid(), primary_key=True),
    # pending, applied, refused, failed, expired
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("issued_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("settled_at", Double),
    Column("document", Document, nullable=False),
    Index(None, "state", "expires_at"),
)

acknowledgements = Table(
    "acknowledgements",
    metadata,
    _run_id(),
    Column("command_id", Uuid(), primary_key=True),
    Column("status", String(16), nullable=False),
    Column("handled_at", Double, nullable=False),
    Column("document", Document, nullable=False),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _run_id(),
    Column("checkpoint_id", Uuid(), primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("document", Document, nullable=False),
)

run_annotations = Table(
    "annotations",
    metadata,
    _run_id(),
    # what people add to a run; the tags of its trainer are in its description
    Column("tags", Document, nullable=False),
    Column("notes", SafeText(), nullable=False),
    Column("archived_at", Double),
    Column("changed_at", Double, nullable=False),
    Column("changed_by", SafeText(), nullable=False),
)

run_tags = Table(
    "run_tags",
    metadata,
    _run_id(),
    # the tags of trainer and people together, for finding runs by them
    Column("name", SafeText(), primary_key=True),
    Column("value", SafeText(), nullable=False),
)

silences = Table(
    "silences",
    metadata,
    Column("silence_id", Uuid(), primary_key=True),
    # what it covers: every one of these that is not null must fit
    Column("run_id", Uuid(), ForeignKey("runs.run_id", ondelete="CASCADE")),
    Column("project", SafeText()),
    Column("kind", String(40)),
    Column("created_at", Double, nullable=False),
    Column("ends_at", Double, nullable=False),
    Column("created_by", SafeText(), nullable=False),
    Column("reason", SafeText(), nullable=False),
    Index(None, "ends_at"),
)

notifications = Table(
    "notifications",
    metadata,
    _run_id(),
    Column("notification_id", Uuid(), primary_key=True),
    Column("notifier", String(40), nullable=False),
    Column("event", String(40), nullable=False),
    # pending, sent, abandoned
    Column("state", String(16), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("last_error", SafeText(), nullable=False),
    Column("document", Document, nullable=False),
    Index(None, "state", "due_at"),
)

panel_snapshots = Table(
    "panel_snapshots",
    metadata,
    _run_id(),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    # the last step the panel had seen; -1 before the first
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("taken_at", Double, nullable=False),
    Column("code_version", String(40), nullable=False),
    Column("document", Document, nullable=False),
)

playbooks = Table(
    "playbooks",
    metadata,
    Column("project", SafeText(), primary_key=True),
    Column("changed_at", Double, nullable=False),
    Column("changed_by", SafeText(), nullable=False),
    Column("document", Document, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("token_id", String(16), primary_key=True),
    Column("name", SafeText(), nullable=False),
    # None: of every project
    Column("project", SafeText()),
    Column("scopes", Document, nullable=False),
    Column("digest", String(64), nullable=False),
    # after a rotation the former secret is good for a while, until every trainer has the new one
    Column("former_digest", String(64)),
    Column("former_until", Double),
    Column("created_at", Double, nullable=False),
    Column("created_by", SafeText(), nullable=False),
    Column("expires_at", Double),
    Column("rotated_at", Double),
    Column("revoked_at", Double),
    Column("last_used_at", Double),
)

audit = Table(
    "audit",
    metadata,
    Column("entry_id", _number(), primary_key=True, autoincrement=True),
    Column("done_at", Double, nullable=False),
    # person, policy or local (a trainer's own brain)
    Column("actor_kind", String(16), nullable=False),
    Column("actor", SafeText(), nullable=False),
    Column("token_id", String(16)),
    Column("action", String(40), nullable=False),
    Column("project", SafeText()),
    # no foreign key: who deleted a run is to be known when the run is gone
    Column("run_id", Uuid()),
    Column("target", SafeText(), nullable=False),
    Column("document", Document, nullable=False),
    Index(None, "run_id", "entry_id"),
    sqlite_autoincrement=True,
)

events = Table(
    "events",
    metadata,
    Column("event_id", _number(), primary_key=True, autoincrement=True),
    # PostgreSQL's number of the transaction that wrote it; 0 on SQLite, whose writers commit in order
    Column("transaction_id", BigInteger, nullable=False),
    Column("happened_at", Double, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("project", SafeText(), nullable=False),
    Column("run_id", Uuid()),
    Column("document", Document, nullable=False),
    Index(None, "transaction_id", "event_id"),
    Index(None, "happened_at"),
    sqlite_autoincrement=True,
)
