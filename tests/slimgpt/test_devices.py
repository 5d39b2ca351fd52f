"""Jobs on several devices, here processes that talk through gloo, against the same job on one."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from psutil import Process
from torch import Tensor

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.output.partial import PartialCheckpoint
from slimgpt.errors import RankError
from slimgpt.events import LayerFinished
from slimgpt.layers import perplexity
from slimgpt.machine import threads
from slimgpt.machine.rank_processes import FirstRank
from slimgpt.machine.ranks import Ranks
from slimgpt.pipeline import run
from slimgpt.sources.resolve import ResolvedModel
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec
from slimgpt.stages import plan, prune
from slimgpt.stages.resolve import JobInputs
from slimgpt.texts.calibration import Calibration
from tests.slimgpt.test_pipeline import TEXT, finish, of_type, spec, weights
from tests.slimgpt.tiny import Tiny, tokens

CPU = torch.device("cpu")
SEQUENCES, LENGTH = 80, 128  # three batches, the last one half as large
MODELS = {
    family: Tiny(family, layers=2, heads=8, kv_heads=4, channels=64)
    for family in ("llama", "gpt2", "falcon", "gemma2", "mixtral")
}
MEASURED = {"recipe": "measured"}
T = TypeVar("T")


@pytest.fixture(scope="module", params=[2, 3])
def ranks(request: pytest.FixtureRequest) -> Iterator[Ranks]:
    with FirstRank(CPU, request.param) as ranks:
        yield ranks


@dataclass(frozen=True)
class Outcome:
    records: list[dict[str, Any]]
    tensors: list[dict[str, Tensor]]
    losses: tuple[float, ...]

    @property
    def kept(self) -> list[Any]:
        names = ("kept_heads", "kept_kv_heads", "kept_channels")
        return [[record[name] for name in names] for record in self.records]


def returned(work: Generator[Any, None, T]) -> T:
    while True:
        try:
            next(work)
        except StopIteration as finished:
            value: T = finished.value
            return value


def pruned(model: Path, work: Path, ranks: Ranks, **settings: Any) -> Outcome:
    spec = PruneSpec.model_validate({"model": "local:model", "ratio": 0.3, **settings})
    checkpoint = Checkpoint.open(model)
    ids = tokens(MODELS[model.name], SEQUENCES, LENGTH)
    drawn = Calibration(ids, ids[:0], "", ids.numel(), 1, "random")
    resolved = ResolvedModel(model, "local:model", None, None, 0)
    inputs = JobInputs(resolved, checkpoint, drawn, ())
    made = returned(plan.make_plan(spec, inputs, ranks))
    partial = PartialCheckpoint(work, "mark", checkpoint.architecture)
    records = returned(prune.prune(spec, inputs, made, partial, ranks))
    stored = prune.pruned_model(checkpoint, made.plan, partial)
    found = returned(stored.run(ranks, perplexity.measure, ids))
    tensors = [partial.layer(index) for index in range(checkpoint.architecture.layers)]
    return Outcome(records, tensors, found.losses)


def test_a_job_whose_device_is_lost_resumes_on_any_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Before `ranks` of this file are open: a process has one group.
    monkeypatch.setattr(threads, "available", lambda: 2)
    Tiny(tokenizer=True, heads=8, kv_heads=4, channels=96).save(tmp_path / "model")
    (tmp_path / "text.txt").write_text(TEXT)
    roots = Roots(models=tmp_path, texts=tmp_path)
    finish(spec(), tmp_path / "alone", roots)

    events = run(spec(devices=2), tmp_path / "work", roots, "cpu")
    assert any(isinstance(event, LayerFinished) for event in events)
    [other] = [one for one in Process().children() if "rank_processes" in " ".join(one.cmdline())]
    other.kill()
    with pytest.raises(RankError, match=r"ended \(SIGKILL\)"):
        list(events)
    assert not other.is_running()

    resumed = finish(spec(), tmp_path / "work", roots, resume=True)
    assert [layer.resumed for layer in of_type(resumed, LayerFinished)] == [True, False, False]
    assert weights(tmp_path / "work/checkpoint") == weights(tmp_path / "alone/checkpoint")


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("llama", {"recipe": "paper"}),
        ("llama", {"method": "flap"}),
        ("gemma2", {"residual_target": 0.5}),
        ("falcon", MEASURED),
        ("gpt2", MEASURED),
        ("mixtral", {"schedule": {"shape": "measured"}, "head_unit": "mixed"}),
    ],
)
def test_any_number_of_devices_gives_the_same_model(
    family: str, settings: dict[str, Any], ranks: Ranks, tmp_path: Path
) -> None:
    model = MODELS[family].save(tmp_path / family)
    alone = pruned(model, tmp_path / "alone", Ranks(CPU), **settings)
    together = pruned(model, tmp_path / "together", ranks, **settings)
    assert together.kept == alone.kept
    assert together.losses == pytest.approx(alone.losses, rel=1e-6)
    for own, other in zip(alone.tensors, together.tensors, strict=True):
        torch.testing.assert_close(other, own, rtol=1e-5, atol=1e-6)
