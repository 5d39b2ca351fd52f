"""Indexes of frequent queries: unfinished jobs of an owner, files to remove.

The two partial indexes contain only the relevant rows, however many jobs are finished.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UNSWEPT = sa.text("swept_epoch < lease_epoch")
PUBLISHED = sa.text("artifacts_removed_at IS NULL AND artifacts_prefix IS NOT NULL")


def upgrade() -> None:
    op.create_index("ix_jobs_owner_status", "jobs", ["owner", "status"])
    op.create_index(
        "ix_jobs_unswept", "jobs", ["id"], postgresql_where=UNSWEPT, sqlite_where=UNSWEPT
    )
    op.create_index(
        "ix_jobs_published",
        "jobs",
        ["finished_at", "id", "artifacts_bytes"],
        postgresql_where=PUBLISHED,
        sqlite_where=PUBLISHED,
    )


def downgrade() -> None:
    for name in ("ix_jobs_published", "ix_jobs_unswept", "ix_jobs_owner_status"):
        op.drop_index(name, table_name="jobs")
