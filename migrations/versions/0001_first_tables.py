"""The first tables: runs and everything that belongs to one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("lr_scale", sa.Double(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=True),
        sa.Column("registered_at", sa.Double(), nullable=False),
        sa.Column("last_seen_at", sa.Double(), nullable=False),
        sa.Column("last_observed_at", sa.Double(), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("observations_total", sa.BigInteger(), nullable=False),
        sa.Column("observations_lost", sa.BigInteger(), nullable=False),
        sa.Column("rollbacks_total", sa.BigInteger(), nullable=False),
        sa.Column("escalations_total", sa.BigInteger(), nullable=False),
        sa.Column("finding_counts", sa.JSON(), nullable=False),
        sa.Column("last_signals", sa.JSON(), nullable=False),
        sa.Column("last_decision", sa.Text(), nullable=False),
        sa.Column("description", sa.JSON(), nullable=False),
        sa.Column("policy_memory", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_runs")),
    )
    op.create_index(op.f("ix_runs_project_state"), "runs", ["project", "state"], unique=False)
    op.create_index(op.f("ix_runs_registered_at_run_id"), "runs", ["registered_at", "run_id"], unique=False)
    op.create_index(op.f("ix_runs_state_last_seen_at"), "runs", ["state", "last_seen_at"], unique=False)
    op.create_table(
        "acknowledgements",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("command_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("handled_at", sa.Double(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.run_id"], name=op.f("fk_acknowledgements_run_id_runs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "command_id", name=op.f("pk_acknowledgements")),
    )
    op.create_table(
        "attempts",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("parent", sa.Integer(), nullable=True),
        sa.Column("start_step", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=False),
        sa.Column("began_at", sa.Double(), nullable=False),
        sa.Column("command_id", sa.Uuid(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_attempts_run_id_runs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "attempt", name=op.f("pk_attempts")),
    )
    op.create_table(
        "checkpoints",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("checkpoint_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.run_id"], name=op.f("fk_checkpoints_run_id_runs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "checkpoint_id", name=op.f("pk_checkpoints")),
    )
    op.create_table(
        "commands",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("command_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("issued_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("settled_at", sa.Double(), nullable=True),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_commands_run_id_runs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "command_id", name=op.f("pk_commands")),
    )
    op.create_index(op.f("ix_commands_state_expires_at"), "commands", ["state", "expires_at"], unique=False)
    op.create_table(
        "decisions",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("decision_id", sa.Uuid(), nullable=False),
        sa.Column("incident_id", sa.Uuid(), nullable=False),
        sa.Column("decided_at", sa.Double(), nullable=False),
        sa.Column("decided_by", sa.String(length=16), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_decisions_run_id_runs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "decision_id", name=op.f("pk_decisions")),
    )
    op.create_index(op.f("ix_decisions_run_id_decided_at"), "decisions", ["run_id", "decided_at"], unique=False)
    op.create_table(
        "evaluations",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("evaluated_at", sa.Double(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.run_id"], name=op.f("fk_evaluations_run_id_runs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "attempt", "step", "evaluated_at", name=op.f("pk_evaluations")),
    )
    op.create_table(
        "findings",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("detector", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("onset_step", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.Double(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_findings_run_id_runs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "attempt", "step", "source", "detector", "kind", name=op.f("pk_findings")),
    )
    op.create_table(
        "incidents",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("incident_id", sa.Uuid(), nullable=False),
        sa.Column("brain", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("opened_at", sa.Double(), nullable=False),
        sa.Column("closed_at", sa.Double(), nullable=True),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_incidents_run_id_runs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "incident_id", name=op.f("pk_incidents")),
    )
    op.create_index(op.f("ix_incidents_opened_at_run_id"), "incidents", ["opened_at", "run_id"], unique=False)
    op.create_index(op.f("ix_incidents_state_kind"), "incidents", ["state", "kind"], unique=False)
    op.create_table(
        "notifications",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("notification_id", sa.Uuid(), nullable=False),
        sa.Column("notifier", sa.String(length=40), nullable=False),
        sa.Column("event", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.run_id"], name=op.f("fk_notifications_run_id_runs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "notification_id", name=op.f("pk_notifications")),
    )
    op.create_index(op.f("ix_notifications_state_due_at"), "notifications", ["state", "due_at"], unique=False)
    op.create_table(
        "observations",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("observed_at", sa.Double(), nullable=False),
        sa.Column("judged", sa.Boolean(), nullable=False),
        sa.Column("loss", sa.Double(), nullable=True),
        sa.Column("grad_norm", sa.Double(), nullable=True),
        sa.Column("grad_norm_clipped", sa.Double(), nullable=True),
        sa.Column("param_norm", sa.Double(), nullable=True),
        sa.Column("update_norm", sa.Double(), nullable=True),
        sa.Column("update_ratio", sa.Double(), nullable=True),
        sa.Column("learning_rate", sa.Double(), nullable=True),
        sa.Column("lr_scale", sa.Double(), nullable=True),
        sa.Column("loss_scale", sa.Double(), nullable=True),
        sa.Column("nonfinite_grads", sa.Double(), nullable=True),
        sa.Column("nonfinite_params", sa.Double(), nullable=True),
        sa.Column("update_skipped", sa.Double(), nullable=True),
        sa.Column("step_seconds", sa.Double(), nullable=True),
        sa.Column("nan_mask", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("extra", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.run_id"], name=op.f("fk_observations_run_id_runs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "attempt", "step", name=op.f("pk_observations")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "panel_snapshots",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("taken_at", sa.Double(), nullable=False),
        sa.Column("code_version", sa.String(length=40), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.run_id"], name=op.f("fk_panel_snapshots_run_id_runs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "attempt", "step", name=op.f("pk_panel_snapshots")),
    )
    op.create_table(
        "senders",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("sender", sa.Uuid(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.Column("observations_lost", sa.BigInteger(), nullable=False),
        sa.Column("first_seen_at", sa.Double(), nullable=False),
        sa.Column("last_seen_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_senders_run_id_runs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "sender", name=op.f("pk_senders")),
    )
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


def downgrade() -> None:
    op.drop_table("silences")
    op.drop_table("senders")
    op.drop_table("panel_snapshots")
    op.drop_table("observations")
    op.drop_index(op.f("ix_notifications_state_due_at"), table_name="notifications")
    op.drop_table("notifications")
    op.drop_index(op.f("ix_incidents_state_kind"), table_name="incidents")
    op.drop_index(op.f("ix_incidents_opened_at_run_id"), table_name="incidents")
    op.drop_table("incidents")
    op.drop_table("findings")
    op.drop_table("evaluations")
    op.drop_index(op.f("ix_decisions_run_id_decided_at"), table_name="decisions")
    op.drop_table("decisions")
    op.drop_index(op.f("ix_commands_state_expires_at"), table_name="commands")
    op.drop_table("commands")
    op.drop_table("checkpoints")
    op.drop_table("attempts")
    op.drop_table("acknowledgements")
    op.drop_index(op.f("ix_runs_state_last_seen_at"), table_name="runs")
    op.drop_index(op.f("ix_runs_registered_at_run_id"), table_name="runs")
    op.drop_index(op.f("ix_runs_project_state"), table_name="runs")
    op.drop_table("runs")
