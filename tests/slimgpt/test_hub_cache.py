"""Models as huggingface_hub leaves them: links to files whose names are hashes.

This is where a model named `org/name` lies by default, so everything must work from there: what
loads the model whole, what copies its files, what names them to the user.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from transformers import AutoModelForCausalLM, AutoTokenizer

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.output import whole_model
from slimgpt.errors import BrokenCheckpointError
from slimgpt.events import Latency, Loss, Result, TaskScore, Verified, Warned
from slimgpt.pipeline import run
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec
from slimgpt.stages.export import export
from slimgpt.texts import sources
from tests.hub import cached
from tests.slimgpt.harness.conftest import write
from tests.slimgpt.test_pipeline import TEXT, of_type
from tests.slimgpt.tiny import Tiny

SHIPPED = Path(__file__).parents[2] / "examples/model"
SHARDED = Tiny(max_shard_size="40KB")
FORMATS = ["uniform", "padded", "gguf"]
JOB: dict[str, Any] = {
    "model": "tiny/cached",
    "ratio": 0.25,
    "calibration": {"source": "local:text.txt", "samples": 8, "sequence_length": 64},
    "recovery": {
        "method": "distillation",
        "source": "local:text.txt",
        "samples": 8,
        "sequence_length": 32,
    },
    "evaluation": {
        "texts": ["held-out"],
        "sequence_lengths": [32],
        "max_tokens": 256,
        "tasks": ["piqa"],
        "tasks_source": "local:q",
        "inference": {
            "batch_sizes": [1],
            "prompt_tokens": 4,
            "new_tokens": 2,
            "repeats": 2,
            "warmup": 0,
        },
    },
    "formats": ["exact", *FORMATS],
}


@pytest.fixture(params=["40KB", None], ids=["sharded", "one file"])
def snapshot(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A tiny model in a cache."""
    folder = Tiny(max_shard_size=request.param).save(tmp_path / "model")
    return cached(folder, tmp_path / "cache", "tiny/cached")


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """The shipped model in shards in a cache; llama.cpp reads its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(SHIPPED)
    model.save_pretrained(tmp_path / "shipped", max_shard_size="2MB")
    AutoTokenizer.from_pretrained(SHIPPED).save_pretrained(tmp_path / "shipped")
    return cached(tmp_path / "shipped", tmp_path / "cache", "tiny/cached")


@pytest.mark.timeout(600)  # a dozen processes that each load a model
def test_one_job_with_every_stage_and_every_format(
    shipped: Path, tmp_path: Path, roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (roots.texts / "text.txt").write_text(TEXT)
    row = {"goal": "Open it.", "sol1": "Pull the lever.", "sol2": "Push.", "label": 0}
    write(roots.texts / "q/piqa.jsonl", [row] * 4)
    events = list(run(PruneSpec.model_validate(JOB), tmp_path / "work", roots, "cpu"))
    assert not [event for event in of_type(events, Warned) if " not " in event.message]
    assert {row.model for row in of_type(events, Latency)} == {"dense", "pruned", "recovered"}
    assert {row.task for row in of_type(events, TaskScore)} == {"piqa"}
    assert of_type(events, Loss)
    assert [one.format for one in of_type(events, Verified)] == ["uniform", "exact", *FORMATS[1:]]
    assert isinstance(events[-1], Result)
    report = json.loads((tmp_path / "work/checkpoint/report.json").read_bytes())
    assert report["model"]["revision"] == shipped.name
    assert {row["weights_bytes"] > 0 for row in report["inference"]} == {True}


def test_the_dense_model_is_mirrored_under_its_files_names(snapshot: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(snapshot)
    folder = whole_model.mirror(checkpoint, tmp_path / "mirror")
    names = {path.name for path in snapshot.glob("*.safetensors*")}
    assert {path.name for path in folder.glob("*.safetensors*")} == names
    assert {info.file.name for info in checkpoint.tensors.values()} <= names


def test_a_dense_model_is_exported_to_every_format(shipped: Path, tmp_path: Path) -> None:
    events = list(export(shipped, tmp_path / "out", FORMATS, None, "cpu"))
    assert [one.format for one in of_type(events, Verified)] == FORMATS
    from gguf import GGUFReader

    (file,) = (tmp_path / "out/gguf").glob("*.gguf")
    assert GGUFReader(file).fields["general.name"].contents() == "cached"


def test_a_torn_file_is_named_as_the_user_knows_it(tmp_path: Path) -> None:
    snapshot = cached(SHARDED.save(tmp_path / "model"), tmp_path / "cache", "tiny/cached")
    shard = sorted(snapshot.glob("*.safetensors"))[0]
    blob = shard.resolve()
    blob.write_bytes(blob.read_bytes()[:-4])
    with pytest.raises(BrokenCheckpointError, match=f"^{shard.name} is truncated"):
        Checkpoint.open(snapshot)


def test_a_text_that_is_a_link_is_read_by_its_own_name(roots: Roots) -> None:
    """Lines of JSON strings: the name says what the file is, and a blob's says nothing."""
    (roots.texts / "5f3c").write_text('"one"\n"two"\n')
    (roots.texts / "notes.jsonl").symlink_to("5f3c")
    assert len(sources.documents("local:notes.jsonl", roots=roots)) == 2
