"""What a list of jobs is sorted by is in columns with an index; a lease's end has no index.

An update of an indexed column writes to all indexes of the table, so each renewal of a lease did.
Held jobs are found by their status. Values of jobs that are there are read from their JSON.
"""

from __future__ import annotations

import sys
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

COLUMNS = {
    "sort_name": sa.Text(),
    "sort_ratio": sa.Double(),
    "sort_parameters": sa.Double(),
    "sort_perplexity": sa.Double(),
}
JSON = sa.JSON().with_variant(JSONB(), "postgresql")
JOBS = sa.table(
    "jobs",
    sa.column("id", sa.String()),
    sa.column("name", sa.String()),
    *(sa.column(name, JSON) for name in ("spec", "plan", "result")),
    *(sa.column(name, kind) for name, kind in COLUMNS.items()),
)
BATCH = 1000
MOST = sys.float_info.max


def upgrade() -> None:
    for name, kind in COLUMNS.items():
        op.add_column("jobs", sa.Column(name, kind, nullable=True))
    _fill(op.get_bind())
    for name in COLUMNS:
        op.create_index(f"ix_jobs_{name}_id", "jobs", [name, "id"])
    op.drop_index("ix_jobs_status_lease_expires_at", table_name="jobs")


def downgrade() -> None:
    op.create_index("ix_jobs_status_lease_expires_at", "jobs", ["status", "lease_expires_at"])
    for name in COLUMNS:
        op.drop_index(f"ix_jobs_{name}_id", table_name="jobs")
    with op.batch_alter_table("jobs") as jobs:
        for name in COLUMNS:
            jobs.drop_column(name)


def _fill(connection: sa.Connection) -> None:
    read = sa.select(JOBS.c.id, JOBS.c.name, JOBS.c.spec, JOBS.c.plan, JOBS.c.result)
    bound = {name: sa.bindparam(f"new_{name}", type_=kind) for name, kind in COLUMNS.items()}
    write = sa.update(JOBS).where(JOBS.c.id == sa.bindparam("of")).values(bound)
    last = ""
    while True:
        some = read.where(JOBS.c.id > last).order_by(JOBS.c.id).limit(BATCH)
        rows = connection.execute(some).all()
        if not rows:
            return
        last = rows[-1].id
        connection.execute(write, [_values(row) for row in rows])


def _values(row: Any) -> dict[str, Any]:
    spec, plan, result = row.spec or {}, row.plan or {}, row.result or {}
    return {
        "of": row.id,
        "new_sort_name": str(row.name or spec.get("model") or "").lower() or None,
        "new_sort_ratio": _first(
            result.get("ratio_achieved"), plan.get("ratio_achieved"), spec.get("ratio")
        ),
        "new_sort_parameters": _first(result.get("parameters_after"), plan.get("parameters_after")),
        "new_sort_perplexity": _perplexity(result),
    }


def _perplexity(result: dict[str, Any]) -> float | None:
    """The published one, on the first text, of the model whose size the result has."""
    points, after = result.get("points") or [], result.get("parameters_after")
    same = [point for point in points if point.get("parameters_after") == after]
    model = {**result, "perplexity": next(iter(result.get("perplexity") or []), None)}
    if points:
        model = same[0] if same else {}
    measured = model.get("perplexity")
    if not isinstance(measured, dict):
        return None
    return _first(measured.get(str(model.get("published"))), measured.get("pruned"))


def _first(*values: Any) -> float | None:
    """The first that is a number."""
    for value in values:
        if isinstance(value, int | float) and not isinstance(value, bool) and -MOST < value < MOST:
            return float(value)
    return None
