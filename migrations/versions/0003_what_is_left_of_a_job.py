"""Retention of finished jobs, and announcement to webhooks.

`artifacts_bytes` and `artifacts_removed_at` are for retention; up to `swept_epoch` files of lost
attempts are removed; `announced` says whether webhook deliveries were written.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
COLUMNS = ("artifacts_bytes", "artifacts_removed_at", "swept_epoch", "announced")


def upgrade() -> None:
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("artifacts_bytes", sa.BigInteger(), nullable=True))
        jobs.add_column(sa.Column("artifacts_removed_at", TIME, nullable=True))
        jobs.add_column(sa.Column("swept_epoch", sa.Integer(), nullable=False, server_default="0"))
        jobs.add_column(
            sa.Column("announced", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        jobs.create_index("ix_jobs_announced_status", ["announced", "status"])
        jobs.create_index("ix_jobs_status_finished_at", ["status", "finished_at"])
    # These finished before webhooks existed.
    op.execute(
        sa.text(
            "UPDATE jobs SET announced = :told WHERE status IN ('succeeded', 'failed', 'cancelled')"
        ).bindparams(told=True)
    )


def downgrade() -> None:
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_index("ix_jobs_status_finished_at")
        jobs.drop_index("ix_jobs_announced_status")
        for name in COLUMNS:
            jobs.drop_column(name)
