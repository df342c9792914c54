"""What people do: remarks on incidents, wider silences, playbooks, annotations; tokens, audit, and the event table."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_index(op.f("ix_incidents_incident_id"), "incidents", ["incident_id"], unique=False)
    op.create_table(
        "remarks",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("incident_id", sa.Uuid(), nullable=False),
        sa.Column("remark_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("made_at", sa.Double(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_remarks_run_id_runs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "incident_id", "remark_id", name=op.f("pk_remarks")),
    )
    op.create_table(
        "annotations",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("archived_at", sa.Double(), nullable=True),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.run_id"], name=op.f("fk_annotations_run_id_runs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_annotations")),
    )
    op.create_table(
        "run_tags",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_run_tags_run_id_runs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_run_tags")),
    )
    op.create_table(
        "playbooks",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("project", name=op.f("pk_playbooks")),
    )
    op.create_table(
        "tokens",
        sa.Column("token_id", sa.String(length=16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=True),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("former_digest", sa.String(length=64), nullable=True),
        sa.Column("former_until", sa.Double(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("rotated_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.Column("last_used_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_tokens")),
    )
    op.create_table(
        "audit",
        sa.Column("entry_id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("done_at", sa.Double(), nullable=False),
        sa.Column("actor_kind", sa.String(length=16), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("token_id", sa.String(length=16), nullable=True),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("project", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_audit")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_audit_run_id_entry_id"), "audit", ["run_id", "entry_id"], unique=False)
    op.create_table(
        "events",
        sa.Column("event_id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("transaction_id", sa.BigInteger(), nullable=False),
        sa.Column("happened_at", sa.Double(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_events_transaction_id_event_id"), "events", ["transaction_id", "event_id"], unique=False)
    op.create_index(op.f("ix_events_happened_at"), "events", ["happened_at"], unique=False)

    # The key changes, and the name of a key can't be taken twice: copy, drop, make, copy back.
    op.execute("CREATE TABLE silences_kept AS SELECT * FROM silences")
    op.drop_table("silences")
    op.create_table(
        "silences",
        sa.Column("silence_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("project", sa.Text(), nullable=True),
        sa.Column("kind", sa.String(length=40), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("ends_at", sa.Double(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_silences_run_id_runs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("silence_id", name=op.f("pk_silences")),
    )
    op.create_index(op.f("ix_silences_ends_at"), "silences", ["ends_at"], unique=False)
    op.execute(
        "INSERT INTO silences (silence_id, run_id, created_at, ends_at, created_by, reason) "
        "SELECT silence_id, run_id, created_at, ends_at, created_by, reason FROM silences_kept"
    )
    op.drop_table("silences_kept")


def downgrade() -> None:
    # Silences of a project or of a kind have no place in the older table.
    op.execute("CREATE TABLE silences_kept AS SELECT * FROM silences WHERE run_id IS NOT NULL AND kind IS NULL")
    op.drop_index(op.f("ix_silences_ends_at"), table_name="silences")
    op.drop_table("silences")
    op.create_table(
        "silences",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("silence_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("ends_at", sa.Double(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_silences_run_id_runs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "silence_id", name=op.f("pk_silences")),
    )
    op.execute(
        "INSERT INTO silences (run_id, silence_id, created_at, ends_at, created_by, reason) "
        "SELECT run_id, silence_id, created_at, ends_at, created_by, reason FROM silences_kept"
    )
    op.drop_table("silences_kept")
    op.drop_index(op.f("ix_events_happened_at"), table_name="events")
    op.drop_index(op.f("ix_events_transaction_id_event_id"), table_name="events")
    op.drop_table("events")
    op.drop_index(op.f("ix_audit_run_id_entry_id"), table_name="audit")
    op.drop_table("audit")
    op.drop_table("tokens")
    op.drop_table("playbooks")
    op.drop_table("run_tags")
    op.drop_table("annotations")
    op.drop_table("remarks")
    op.drop_index(op.f("ix_incidents_incident_id"), table_name="incidents")
