"""Further formats of a job: refused before any layer is pruned, or published and proved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM

from slimgpt.errors import SlimGPTError, SpecError, VerificationError
from slimgpt.events import LayerFinished, Result, Verified
from slimgpt.formats.gguf import hyperparameters
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec
from slimgpt.stages.export import export
from slimgpt.verification import formats
from tests.slimgpt.formats.test_formats import in_halves
from tests.slimgpt.test_pipeline import SETTINGS, finish, of_type, roots
from tests.slimgpt.tiny import Tiny

__all__ = ["roots"]

SHIPPED = Path(__file__).parents[3] / "examples/model"


def spec(**changes: Any) -> PruneSpec:
    return PruneSpec.model_validate(SETTINGS | changes)


def logits(folder: Path, **options: Any) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, **options)
    with torch.no_grad():
        found: torch.Tensor = model(torch.arange(32)[None]).logits
    return found


def test_every_format_lies_beside_the_checkpoint_and_is_in_the_report(
    roots: Roots, tmp_path: Path
) -> None:
    shutil.copytree(SHIPPED, tmp_path / "model", ignore=shutil.ignore_patterns("texts"))
    events = finish(spec(formats=["gguf", "padded"], gguf_type="f16"), tmp_path / "work", roots)
    made = tmp_path / "work/checkpoint"
    exact = logits(made, trust_remote_code=True)
    assert torch.allclose(exact, logits(made / "padded"), atol=1e-4)
    assert json.loads((made / "padded/config.json").read_text())["model_type"] == "llama"
    told = of_type(events, Verified)
    assert [one.format for one in told] == ["exact", "padded", "gguf"]
    report = json.loads((made / "report.json").read_text())
    assert [row["format"] for row in report["verified"]] == ["exact", "padded", "gguf"]
    read = gguf.GGUFReader(made / "gguf/model-f16.gguf")
    assert read.fields["general.name"].contents() == "model-pruned-25"
    assert all(row["max_difference"] <= row["bound"] for row in report["verified"])
    assert report["verified"][2]["bytes"] == (made / "gguf/model-f16.gguf").stat().st_size
    card, page = ((made / name).read_text() for name in ("README.md", "report.html"))
    assert "one file for llama.cpp, tokenizer included" in card
    assert "`padded/`" in card
    assert "llama.cpp" in page


def test_layers_of_one_size_are_published_as_a_stock_class_alone(
    roots: Roots, tmp_path: Path
) -> None:
    Tiny(tokenizer=True, channels=96).save(tmp_path / "model")
    events = finish(spec(formats=["uniform"]), tmp_path / "work", roots)
    (result,) = of_type(events, Result)
    assert len({(row["heads"], row["kv_heads"], row["channels"]) for row in result.layers}) == 1
    made = tmp_path / "work/checkpoint"
    stock = AutoModelForCausalLM.from_pretrained(made)
    assert type(stock).__module__.startswith("transformers.")
    assert sum(one.numel() for one in stock.parameters()) == result.parameters_after
    assert [one.format for one in of_type(events, Verified)] == ["uniform"]
    assert [file.name for file in made.rglob("*.safetensors")] == ["model.safetensors"]
    assert not list(made.rglob("*.py"))
    card = (made / "README.md").read_text()
    assert "trust_remote_code" not in card
    assert "A fresh process loaded this folder" in card


def test_exact_is_published_with_uniform_only_if_listed(roots: Roots, tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "model", ignore=shutil.ignore_patterns("texts"))
    events = finish(spec(formats=["uniform", "exact", "gguf"]), tmp_path / "work", roots)
    assert [one.format for one in of_type(events, Verified)] == ["uniform", "exact", "gguf"]
    made = tmp_path / "work/checkpoint"
    assert torch.equal(logits(made), logits(made / "exact", trust_remote_code=True))
    assert "`exact/`" in (made / "README.md").read_text()
    assert list((made / "gguf").glob("*.gguf"))
    list(export(made / "exact", tmp_path / "exported", ["uniform"], None, "cpu"))
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "exported" / name).read_bytes() == (made / name).read_bytes()


def test_what_cannot_be_is_refused_before_a_layer_is_pruned(
    roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(match: str, form: str) -> None:
        with pytest.raises(SlimGPTError, match=match):
            finish(spec(formats=[form]), tmp_path / "work", roots)
        assert not list((tmp_path / "work").glob("layers/layer-*"))
        shutil.rmtree(tmp_path / "work", ignore_errors=True)

    Tiny("gemma2", tokenizer=True).save(tmp_path / "model")
    refused("format `gguf` cannot hold this model", "gguf")
    shutil.rmtree(tmp_path / "model")
    Tiny("llama", tokenizer=True).save(tmp_path / "model")
    with monkeypatch.context() as patch:
        patch.setattr(formats, "EXTRA", ("gguf", "no_such_library"))
        refused("format `gguf` needs no_such_library", "gguf")
    tokenizer = json.loads((tmp_path / "model/tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = {"type": "Whitespace"}
    (tmp_path / "model/tokenizer.json").write_text(json.dumps(tokenizer))
    refused("llama.cpp", "gguf")


def test_a_file_that_computes_something_else_ends_the_job_and_costs_no_layer(
    roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Llama's queries and keys without the order that llama.cpp turns them in."""
    shutil.copytree(SHIPPED, tmp_path / "model", ignore=shutil.ignore_patterns("texts"))
    work = tmp_path / "work"
    blueprint = hyperparameters.blueprint
    with monkeypatch.context() as patch:
        patch.setattr(
            hyperparameters,
            "blueprint",
            lambda *args: in_halves(blueprint(*args)),
        )
        with pytest.raises(VerificationError, match=r"GGUF file differs"):
            finish(spec(formats=["gguf"]), work, roots)
    assert not (work / "checkpoint").exists()
    events = finish(spec(), work, roots, resume=True)
    assert all(layer.resumed for layer in of_type(events, LayerFinished))
    assert not (work / "checkpoint/gguf").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"formats": ["uniform"], "schedule": {"shape": "log"}}, "choose schedule `uniform`"),
        ({"formats": ["gguf", "gguf"]}, "more than once"),
        ({"gguf_type": "f16"}, "needs format `gguf`"),
        ({"formats": ["safetensors"]}, "'exact', 'uniform', 'gguf' or 'padded'"),
        ({"tensor_parallel": 3}, "1, 2, 4, 8, 16 or 32"),
    ],
)
def test_what_contradicts_itself_is_no_specification(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        spec(**changes)


def test_layers_of_other_sizes_cannot_be_made_alike(roots: Roots, tmp_path: Path) -> None:
    Tiny(tokenizer=True, channels=96).save(tmp_path / "model")
    finish(spec(evaluation={"texts": []}), tmp_path / "work", roots)
    (tmp_path / "work/checkpoint").rename(tmp_path / "pruned")
    with pytest.raises(SpecError, match="the model's own layers are of different sizes"):
        finish(spec(model="local:pruned", formats=["uniform"]), tmp_path / "again", roots)
