"""Roll-ups: what a chart reads instead of every observation. Rows of before are read as they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rollups",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("width", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("bucket", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_step", sa.BigInteger(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("observations", sa.Integer(), nullable=False),
        sa.Column("loss_minimum", sa.Double(), nullable=True),
        sa.Column("loss_maximum", sa.Double(), nullable=True),
        sa.Column("loss_mean", sa.Double(), nullable=True),
        sa.Column("loss_count", sa.Integer(), nullable=True),
        sa.Column("loss_nans", sa.Integer(), nullable=True),
        sa.Column("grad_norm_minimum", sa.Double(), nullable=True),
        sa.Column("grad_norm_maximum", sa.Double(), nullable=True),
        sa.Column("grad_norm_mean", sa.Double(), nullable=True),
        sa.Column("grad_norm_count", sa.Integer(), nullable=True),
        sa.Column("grad_norm_nans", sa.Integer(), nullable=True),
        sa.Column("grad_norm_clipped_minimum", sa.Double(), nullable=True),
        sa.Column("grad_norm_clipped_maximum", sa.Double(), nullable=True),
        sa.Column("grad_norm_clipped_mean", sa.Double(), nullable=True),
        sa.Column("grad_norm_clipped_count", sa.Integer(), nullable=True),
        sa.Column("grad_norm_clipped_nans", sa.Integer(), nullable=True),
        sa.Column("param_norm_minimum", sa.Double(), nullable=True),
        sa.Column("param_norm_maximum", sa.Double(), nullable=True),
        sa.Column("param_norm_mean", sa.Double(), nullable=True),
        sa.Column("param_norm_count", sa.Integer(), nullable=True),
        sa.Column("param_norm_nans", sa.Integer(), nullable=True),
        sa.Column("update_norm_minimum", sa.Double(), nullable=True),
        sa.Column("update_norm_maximum", sa.Double(), nullable=True),
        sa.Column("update_norm_mean", sa.Double(), nullable=True),
        sa.Column("update_norm_count", sa.Integer(), nullable=True),
        sa.Column("update_norm_nans", sa.Integer(), nullable=True),
        sa.Column("update_ratio_minimum", sa.Double(), nullable=True),
        sa.Column("update_ratio_maximum", sa.Double(), nullable=True),
        sa.Column("update_ratio_mean", sa.Double(), nullable=True),
        sa.Column("update_ratio_count", sa.Integer(), nullable=True),
        sa.Column("update_ratio_nans", sa.Integer(), nullable=True),
        sa.Column("learning_rate_minimum", sa.Double(), nullable=True),
        sa.Column("learning_rate_maximum", sa.Double(), nullable=True),
        sa.Column("learning_rate_mean", sa.Double(), nullable=True),
        sa.Column("learning_rate_count", sa.Integer(), nullable=True),
        sa.Column("learning_rate_nans", sa.Integer(), nullable=True),
        sa.Column("lr_scale_minimum", sa.Double(), nullable=True),
        sa.Column("lr_scale_maximum", sa.Double(), nullable=True),
        sa.Column("lr_scale_mean", sa.Double(), nullable=True),
        sa.Column("lr_scale_count", sa.Integer(), nullable=True),
        sa.Column("lr_scale_nans", sa.Integer(), nullable=True),
        sa.Column("loss_scale_minimum", sa.Double(), nullable=True),
        sa.Column("loss_scale_maximum", sa.Double(), nullable=True),
        sa.Column("loss_scale_mean", sa.Double(), nullable=True),
        sa.Column("loss_scale_count", sa.Integer(), nullable=True),
        sa.Column("loss_scale_nans", sa.Integer(), nullable=True),
        sa.Column("nonfinite_grads_minimum", sa.Double(), nullable=True),
        sa.Column("nonfinite_grads_maximum", sa.Double(), nullable=True),
        sa.Column("nonfinite_grads_mean", sa.Double(), nullable=True),
        sa.Column("nonfinite_grads_count", sa.Integer(), nullable=True),
        sa.Column("nonfinite_grads_nans", sa.Integer(), nullable=True),
        sa.Column("nonfinite_params_minimum", sa.Double(), nullable=True),
        sa.Column("nonfinite_params_maximum", sa.Double(), nullable=True),
        sa.Column("nonfinite_params_mean", sa.Double(), nullable=True),
        sa.Column("nonfinite_params_count", sa.Integer(), nullable=True),
        sa.Column("nonfinite_params_nans", sa.Integer(), nullable=True),
        sa.Column("update_skipped_minimum", sa.Double(), nullable=True),
        sa.Column("update_skipped_maximum", sa.Double(), nullable=True),
        sa.Column("update_skipped_mean", sa.Double(), nullable=True),
        sa.Column("update_skipped_count", sa.Integer(), nullable=True),
        sa.Column("update_skipped_nans", sa.Integer(), nullable=True),
        sa.Column("step_seconds_minimum", sa.Double(), nullable=True),
        sa.Column("step_seconds_maximum", sa.Double(), nullable=True),
        sa.Column("step_seconds_mean", sa.Double(), nullable=True),
        sa.Column("step_seconds_count", sa.Integer(), nullable=True),
        sa.Column("step_seconds_nans", sa.Integer(), nullable=True),
        sa.Column("extra", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_rollups_run_id_runs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "attempt", "width", "bucket", name=op.f("pk_rollups")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("rollups")
