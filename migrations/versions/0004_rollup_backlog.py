"""The attempts that are here already: housekeeping looks which of them lack roll-ups, and makes those."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rollup_backlog",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.run_id"], name=op.f("fk_rollup_backlog_run_id_runs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "attempt", name=op.f("pk_rollup_backlog")),
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO rollup_backlog (run_id, attempt) SELECT run_id, attempt FROM attempts")


def downgrade() -> None:
    op.drop_table("rollup_backlog")
