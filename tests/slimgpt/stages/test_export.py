"""`export`: all formats of a pruned model at once, proved in fresh processes, or nothing at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import SpecError, StorageError, UnsupportedModelError, VerificationError
from slimgpt.events import Event, Verified
from slimgpt.formats.gguf import hyperparameters
from slimgpt.stages.export import export
from tests.slimgpt.formats.test_formats import in_halves
from tests.slimgpt.pruned import lots, publish

SHIPPED = Path(__file__).parents[3] / "examples/model"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model with pieces cut out by lot."""
    dense = Checkpoint.open(SHIPPED)
    folder = tmp_path_factory.mktemp("exported") / "pruned"
    return publish(dense, lots(dense.architecture), folder)


def test_every_format_is_proved_and_appears_at_once(model: Path, tmp_path: Path) -> None:
    seen = []
    for event in export(model, tmp_path / "out", ["gguf", "padded"], "q8_0", "cpu"):
        assert not (tmp_path / "out").exists()
        if isinstance(event, Verified):
            seen.append((event.format, event.max_difference <= event.bound))
    assert seen == [("padded", True), ("gguf", True)]
    assert (tmp_path / "out/gguf/model-q8_0.gguf").exists()
    assert (tmp_path / "out/padded/config.json").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_file_that_computes_something_else_is_not_left_behind(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Llama's queries and keys without the order that llama.cpp turns them in."""
    blueprint = hyperparameters.blueprint
    monkeypatch.setattr(
        hyperparameters,
        "blueprint",
        lambda *args: in_halves(blueprint(*args)),
    )
    with pytest.raises(VerificationError, match=r"GGUF file differs"):
        list(export(model, tmp_path / "out", ["gguf"], None, "cpu"))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_is_refused_before_anything_is_written(model: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="layers differ in size"):
        list(export(model, tmp_path / "out", ["padded", "uniform"], None, "cpu"))
    with pytest.raises(SpecError, match="`exact`"):
        list(export(model, tmp_path / "out", ["exact"], None, "cpu"))
    assert list(tmp_path.iterdir()) == []
    bare = shutil.copytree(model, tmp_path / "bare")
    for file in bare.glob("tokenizer*"):
        file.unlink()
    seen: list[Event] = []
    with pytest.raises(UnsupportedModelError, match="tokenizer cannot be loaded"):
        seen.extend(export(bare, tmp_path / "out", ["padded", "gguf"], None, "cpu"))
    assert (seen, [entry.name for entry in tmp_path.iterdir()]) == ([], ["bare"])
    with pytest.raises(StorageError, match="exists already"):
        list(export(model, tmp_path, ["padded"], None, "cpu"))
