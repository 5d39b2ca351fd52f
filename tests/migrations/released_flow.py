"""A job's life in the code of the last release, which `test_rolling_upgrade` puts on the path.

Reads a line `DATABASE_URL [JOB_ID]` for each database. With JOB_ID, a job that newer code has
created, on the schema that newer code has made; without it the release makes its own schema first.
Answers each with what it wrote, a JSON object a line; `error` where a step of the release fails.
"""

from __future__ import annotations

import json
import sys
import traceback
from importlib import import_module
from typing import Any

from slimgpt.events import LayerFinished, Planned, Warned


def released(*modules: str) -> Any:
    """The first of these modules that the release has: they have moved once."""
    for name in modules:
        try:
            return import_module(name)
        except ModuleNotFoundError:
            continue
    raise ImportError(f"the release has none of {modules}")


database = released("jobs.store.database", "jobs.database")
Store = released("jobs.store.store", "jobs.store").Store
PruneSpec = released("slimgpt.spec.prune", "slimgpt.config").PruneSpec
SPEC = PruneSpec(model="local:tiny", ratio=0.5)
PLAN = Planned(
    parameters_before=900, parameters_after=450, ratio_achieved=0.5, layers=2, channel_multiple=32
)
SIZES = {"heads": 2, "kv_heads": 1, "channels": 32, "parameters": 2_500_000_000}
COSTS = dict.fromkeys(("attention_error", "ffn_error", "attention_damping", "ffn_damping"), 0.125)


def layer(number: int) -> LayerFinished:
    """A finished layer of two."""
    before = {f"{name}_before": 2 * size for name, size in SIZES.items()}
    return LayerFinished(layer=number, layers_total=2, seconds=2.0, **SIZES, **before, **COSTS)


def live(url: str, foreign: str = "") -> dict[str, Any]:
    """Create, claim, prune, finish, list; leave a job in every state that a restart may meet."""
    if not foreign:
        database.upgrade(url)
    store = Store(database.make_engine(url), lease_seconds=3600)
    taken = store.claim(foreign, "released") if foreign else None
    ids = {name: store.create(SPEC, metadata={"n": name}).id for name in ("done", "held", "left")}
    again = store.create(SPEC, metadata={"n": "key"}, idempotency_key="k")
    assert store.create(SPEC, metadata={"n": "key"}, idempotency_key="k").id == again.id
    done, held = (store.claim(ids[name], "released") for name in ("done", "held"))
    assert store.renew(done.job.id, done.epoch) is not None
    assert store.planned(done.job.id, done.epoch, PLAN)
    for number in range(2):
        assert store.layer_done(done.job.id, done.epoch, layer(number))
    assert store.layer_done(held.job.id, held.epoch, layer(0))
    assert store.warn(done.job.id, done.epoch, Warned(message="careful", layer=1))
    wrote = {"result": {"parameters_after": 450}, "report": {"verdict": "good"}}
    assert store.finish(done.job.id, done.epoch, prefix="published/1", artifacts_bytes=9, **wrote)
    assert store.request_cancel(again.id).status == "cancelled"
    listed = {job.id: job.status for job in store.list().items}
    assert [listed[ids[name]] for name in ("done", "held", "left")] == [
        "succeeded",
        "running",
        "queued",
    ]
    assert len(store.layers(done.job.id)) == store.get(done.job.id).layers_done == 2
    store.engine.dispose()
    return {**ids, "cancelled": again.id, "understood": taken is not None}


if __name__ == "__main__":
    for line in sys.stdin:
        try:
            answer = live(*line.split())
        except Exception:  # whatever the release raises
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)  # noqa: T201
