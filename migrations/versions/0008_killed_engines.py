"""Resumption after a killed engine, and of retries from finished layers.

`engine_kills` records where engines were killed and their memory; `layers_kept` that a failed job's
finished layers are kept for a retry; layers up to `anew_epoch` are ignored after a retry from the
beginning.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

COLUMNS = ("engine_kills", "layers_kept", "anew_epoch")


def upgrade() -> None:
    json = sa.JSON().with_variant(JSONB(), "postgresql")
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("engine_kills", json, nullable=True))
        jobs.add_column(
            sa.Column("layers_kept", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        jobs.add_column(sa.Column("anew_epoch", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("jobs") as jobs:
        for name in COLUMNS:
            jobs.drop_column(name)
