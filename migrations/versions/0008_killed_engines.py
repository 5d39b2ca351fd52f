"""A job whose engine was killed goes on, and one that is tried again does so from its layers.

`engine_kills` says where its engines were killed and with how much memory, `layers_kept` that a
failed job's finished layers are kept for a retry, `anew_epoch` up to which epoch they are of no
use, because somebody asked to start anew.
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
