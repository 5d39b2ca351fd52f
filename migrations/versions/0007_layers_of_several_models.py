"""Sweeps: a layer's row has the index of its model."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

KEY = "pk_job_layers"


def upgrade() -> None:
    with op.batch_alter_table("job_layers") as layers:
        layers.add_column(sa.Column("point", sa.Integer(), nullable=False, server_default="0"))
        layers.drop_constraint(KEY, type_="primary")
        layers.create_primary_key(KEY, ["job_id", "point", "layer"])


def downgrade() -> None:
    op.execute(sa.text("DELETE FROM job_layers WHERE point > 0"))
    with op.batch_alter_table("job_layers") as layers:
        layers.drop_constraint(KEY, type_="primary")
        layers.drop_column("point")
        layers.create_primary_key(KEY, ["job_id", "layer"])
