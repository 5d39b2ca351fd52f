"""Jobs of several models: rows of their layers, and how far they are."""

from __future__ import annotations

import itertools

from jobs.messages.snapshot import Snapshot, advance
from jobs.store.store import Store
from slimgpt.events import LayerFinished, Planned, StageStarted
from tests.jobs.conftest import SPEC

POINTS = 3
LAYERS = 4


def layer(point: int, index: int) -> LayerFinished:
    return LayerFinished(
        point=point, points=POINTS, layer=index, layers_total=POINTS * LAYERS,
        heads_before=8, heads=8 - point, kv_heads_before=8, kv_heads=8 - point,
        channels_before=32, channels=16, parameters_before=100, parameters=90 - point,
        attention_error=0.1, ffn_error=0.2, attention_damping=0.01, ffn_damping=0.01, seconds=1.0,
    )  # fmt: skip


def test_every_models_layers_are_kept_and_counted(store: Store) -> None:
    job = store.create(SPEC)
    claim = store.claim(job.id, "worker")
    assert claim is not None
    for point in range(POINTS):
        for index in range(LAYERS):
            for _ in range(2):  # told twice
                assert store.layer_done(job.id, claim.epoch, layer(point, index))
    found = store.layers(job.id)
    assert [(one.point, one.layer) for one in found] == [
        (point, index) for point in range(POINTS) for index in range(LAYERS)
    ]
    assert [one.heads for one in found] == [8] * 4 + [7] * 4 + [6] * 4
    now = store.get(job.id)
    assert now is not None
    assert (now.layers_done, now.layers_total) == (12, 12)


def test_progress_goes_on_from_model_to_model() -> None:
    planned = Planned(
        parameters_before=400, parameters_after=300, ratio_achieved=0.25, layers=12,
        channel_multiple=4,
    )  # fmt: skip
    snapshot = advance(advance(Snapshot(), planned), StageStarted(stage="prune"))
    seen = [snapshot.percent]
    for point in range(POINTS):
        for index in range(LAYERS):
            snapshot = advance(snapshot, layer(point, index))
            seen.append(snapshot.percent)
            assert snapshot.layers_done == point * LAYERS + index + 1
    steps = {round(after - before, 2) for before, after in itertools.pairwise(seen)}
    assert max(steps) - min(steps) < 0.02  # every layer counts the same
    assert snapshot.layers_done == snapshot.layers_total
