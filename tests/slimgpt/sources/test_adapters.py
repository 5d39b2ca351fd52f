"""An adapter beside a model, or in place of one, is never left out in silence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import UnsupportedModelError
from slimgpt.planning.preview import plan_preview
from slimgpt.sources.resolve import needed, resolve_model
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec
from tests.slimgpt.tiny import Tiny

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter as PEFT saves it."""
    folder = tmp_path_factory.mktemp("peft") / "adapter"
    model = get_peft_model(Tiny().build(), LoraConfig(r=2, target_modules=["q_proj"]))
    model.save_pretrained(folder)
    return folder


def refused(roots: Roots, words: str) -> None:
    """By all that opens a model: a job, a plan, a command."""
    job = PruneSpec(model="local:model", ratio=0.2)
    with pytest.raises(UnsupportedModelError, match=words):
        resolve_model("local:model", roots)
    with pytest.raises(UnsupportedModelError, match=words):
        plan_preview(job, roots)
    with pytest.raises(UnsupportedModelError, match=words):
        Checkpoint.open(roots.models / "model")


@pytest.mark.parametrize("shards", [None, "20KB"])
def test_weights_with_an_adapter_are_refused_with_what_to_do(
    roots: Roots, adapter: Path, shards: str | None
) -> None:
    Tiny(max_shard_size=shards).save(roots.models / "model")
    shutil.copytree(adapter, roots.models / "model", dirs_exist_ok=True)
    refused(roots, r"in addition to its weights.*merge_and_unload.*or remove adapter_config\.json")


def test_weights_of_an_adapter_without_its_config_are_not_passed_over_either(
    roots: Roots, adapter: Path
) -> None:
    Tiny().save(roots.models / "model")
    shutil.copy(adapter / "adapter_model.safetensors", roots.models / "model")
    refused(roots, r"adapter \(adapter_model\.safetensors\) in addition to its weights")


@pytest.mark.parametrize("config", [False, True])
def test_an_adapter_alone_is_called_one(roots: Roots, adapter: Path, config: bool) -> None:
    """With a `config.json` beside it as well, as some trainers leave it."""
    shutil.copytree(adapter, roots.models / "model")
    if config:
        base = Tiny().save(roots.texts / "base")
        shutil.copy(base / "config.json", roots.models / "model")
    refused(roots, r"adapter \(adapter_config\.json\) and no weights of a model.*merge the")


def test_the_hub_is_asked_for_neither() -> None:
    adapter = ["adapter_config.json", "adapter_model.safetensors", "tokenizer.json"]
    with pytest.raises(
        UnsupportedModelError, match=r"'o/n' contains an adapter .* no weights of a model"
    ):
        needed(adapter, "o/n")
    with pytest.raises(
        UnsupportedModelError, match=r"'o/n' contains an adapter .* in addition to its"
    ):
        needed([*adapter, "model.safetensors", "config.json"], "o/n")
    assert "model.safetensors" in needed(["model.safetensors", "lora/adapter_config.json"], "o/n")
