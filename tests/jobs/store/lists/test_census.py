"""The census is counted in indexes."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from jobs.store.database import make_engine
from jobs.store.lists.statistics import take


def test_no_statement_reads_the_whole_table(sqlite_url: str) -> None:
    engine = make_engine(sqlite_url)
    said: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        said.append((statement, values))

    sa.event.listen(engine, "before_cursor_execute", note)
    take(engine)
    sa.event.remove(engine, "before_cursor_execute", note)
    counts = [(statement, values) for statement, values in said if "FROM jobs" in statement]
    assert len(counts) == 3
    with engine.connect() as connection:
        for statement, values in counts:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
            assert all("INDEX" in step[3] for step in plan if "jobs" in step[3]), plan
    engine.dispose()
