"""Models stored under other names compute what they would under their own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.output import whole_model
from slimgpt.errors import BrokenCheckpointError, UnsupportedModelError
from slimgpt.formats import stock
from slimgpt.layers.stack import Stack
from slimgpt.texts.tokenization.tokenizer import Tokenizer
from tests.slimgpt.pruned import lots, publish
from tests.slimgpt.tiny import Tiny, tokens

CPU = torch.device("cpu")
LLAMA = Tiny(kv_heads=4)
CODE = "raise SystemExit('code of a model ran')\n"
AUTO_MAP = {"AutoModelForCausalLM": "modeling_baichuan.BaiChuanForCausalLM"}


def baichuan(folder: Path, tiny: Tiny = LLAMA, **changes: Any) -> Path:
    """A tiny Baichuan-7B: the tensors of a Llama as that repository has them, and code."""
    tiny.save(folder)
    tensors = load_file(folder / "model.safetensors")
    for index in range(tiny.layers):
        place = f"model.layers.{index}.self_attn."
        parts = [tensors.pop(f"{place}{name}_proj.weight") for name in ("q", "k", "v")]
        tensors[f"{place}W_pack.weight"] = torch.cat(parts)
        tensors[f"{place}rotary_emb.inv_freq"] = torch.ones(4)
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    changed = {"model_type": "baichuan", "auto_map": AUTO_MAP, **changes}
    (folder / "config.json").write_text(json.dumps(config | changed))
    (folder / "modeling_baichuan.py").write_text(CODE)
    (folder / "configuration_baichuan.py").write_text(CODE)
    return folder


@torch.no_grad()
def expected(tiny: Tiny) -> Tensor:
    """Logits of the model as it was built."""
    logits: Tensor = tiny.build()(tokens(tiny)).logits
    return logits


def test_baichuan_computes_and_is_published_as_a_llama(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(baichuan(tmp_path / "model"))
    assert torch.equal(Stack(checkpoint, CPU).logits(tokens(LLAMA)), expected(LLAMA))
    folder = publish(checkpoint, lots(checkpoint.architecture), tmp_path / "pruned")
    config = json.loads((folder / "config.json").read_text())
    assert (config["model_type"], config["architectures"]) == ("llama", ["SlimGPTLlamaForCausalLM"])
    assert not (folder / "modeling_baichuan.py").exists()
    assert all("W_pack" not in name for name in Checkpoint.open(folder).tensors)
    twin = Checkpoint.open(LLAMA.save(tmp_path / "llama"))
    same = publish(twin, lots(twin.architecture), tmp_path / "twin")
    for shard in same.glob("*.safetensors"):
        assert (folder / shard.name).read_bytes() == shard.read_bytes()


def test_the_whole_of_baichuan_is_loaded_under_the_names_of_llama(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(baichuan(tmp_path / "model"))
    folder = whole_model.mirror(checkpoint, tmp_path / "mirror")
    model = whole_model.load(folder, checkpoint.architecture.family, "float32", CPU)
    with torch.no_grad():
        assert torch.equal(model(tokens(LLAMA)).logits, expected(LLAMA))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_position_embeddings": None}, "Baichuan-13B model cannot be pruned.*ALiBi"),
        ({"vocab_size": 125_696}, "Baichuan2 model cannot be pruned.*normalises"),
    ],
)
def test_other_baichuans_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        Checkpoint.open(baichuan(tmp_path / "model", **changes))


def test_the_tokenizer_of_baichuan_is_a_sentencepiece_model(shared: Path, tmp_path: Path) -> None:
    folder = baichuan(tmp_path / "model", vocab_size=512)
    llama = shared / "models/stories260K"
    shutil.copyfile(llama / "tokenizer.model", folder / "tokenizer.model")
    settings = {
        "tokenizer_class": "BaichuanTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_baichuan.BaichuanTokenizer", None]},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "tokenization_baichuan.py").write_text(CODE)
    text = "Once upon a time, there was a little dragon."
    assert Tokenizer.load(folder).decode(Tokenizer.load(folder).encode(text)) == text
    checkpoint = Checkpoint.open(baichuan(tmp_path / "again"))
    shutil.copytree(
        folder, checkpoint.folder, dirs_exist_ok=True, ignore=lambda *_: ["config.json"]
    )
    pruned = publish(checkpoint, lots(checkpoint.architecture), tmp_path / "pruned")
    published = AutoTokenizer.from_pretrained(pruned)
    assert published.decode(published(text).input_ids, skip_special_tokens=True) == text


@pytest.mark.parametrize("family", ["gpt2", "opt"])
def test_names_without_the_body_are_those_with_it(family: str, tmp_path: Path) -> None:
    tiny = Tiny(family, tied=True)
    folder = tiny.save(tmp_path / "model")
    body = Checkpoint.open(folder).architecture.family.body
    tensors = load_file(folder / "model.safetensors")
    short = {name.removeprefix(f"{body}."): tensor for name, tensor in tensors.items()}
    if family == "gpt2":
        short["h.0.attn.bias"] = torch.ones(1, 1, 4, 4)
    save_file(short, folder / "model.safetensors")
    checkpoint = Checkpoint.open(folder)
    assert torch.equal(Stack(checkpoint, CPU).logits(tokens(tiny)), expected(tiny))
    mirror = whole_model.mirror(checkpoint, tmp_path / "mirror")
    model = whole_model.load(mirror, checkpoint.architecture.family, "float32", CPU)
    with torch.no_grad():
        assert torch.equal(model(tokens(tiny)).logits, expected(tiny))


def renamed(folder: Path, rename: Callable[[str], str], tiny: Tiny = LLAMA) -> Path:
    """A model whose tensors were saved under other names."""
    tiny.save(folder)
    file = folder / "model.safetensors"
    tensors = {rename(name): tensor for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})
    return folder


WRAPPED: dict[str, Callable[[str], str]] = {
    "torch.compile": lambda name: f"_orig_mod.{name}",
    "DataParallel": lambda name: f"module.{name}",
    "PEFT": lambda name: f"base_model.model.{name}",
    "Lightning": lambda name: f"model.{name}",
    "several": lambda name: f"module._orig_mod.base_model.model.{name}",
    "FSDP": lambda name: f"_fsdp_wrapped_module.{name}".replace(
        "layers.0.", "layers.0._fsdp_wrapped_module._checkpoint_wrapped_module."
    ),
    "a compiled body": lambda name: name.replace("model.", "model._orig_mod."),
}


@pytest.mark.parametrize("wrapper", WRAPPED)
@pytest.mark.parametrize("tied", [False, True])
def test_a_wrapper_in_the_names_changes_nothing(wrapper: str, tied: bool, tmp_path: Path) -> None:
    tiny = Tiny(kv_heads=4, tied=tied)
    checkpoint = Checkpoint.open(renamed(tmp_path / "model", WRAPPED[wrapper], tiny))
    assert checkpoint.tensors.keys() == Checkpoint.open(tiny.save(tmp_path / "own")).tensors.keys()
    assert torch.equal(Stack(checkpoint, CPU).logits(tokens(tiny)), expected(tiny))
    mirror = whole_model.mirror(checkpoint, tmp_path / "mirror")
    loaded = whole_model.load(mirror, checkpoint.architecture.family, "float32", CPU)
    with torch.no_grad():
        assert torch.equal(loaded(tokens(tiny)).logits, expected(tiny))


def test_gpt2_has_a_wrapper_before_its_short_names(tmp_path: Path) -> None:
    tiny = Tiny("gpt2", tied=True)
    folder = renamed(tmp_path / "model", lambda n: "module." + n.removeprefix("transformer."), tiny)
    assert torch.equal(Stack(Checkpoint.open(folder), CPU).logits(tokens(tiny)), expected(tiny))


def test_a_wrapped_model_is_written_as_a_stock_class(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(renamed(tmp_path / "model", WRAPPED["PEFT"]))
    (tmp_path / "uniform").mkdir()
    stock.write_uniform(checkpoint, tmp_path / "uniform")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "uniform")
    with torch.no_grad():
        assert torch.equal(model(tokens(LLAMA)).logits, expected(LLAMA))


def test_names_that_cannot_be_told_are_named(tmp_path: Path) -> None:
    odd = renamed(tmp_path / "odd", lambda name: name.replace("model.layers", "model.blocks"))
    with pytest.raises(BrokenCheckpointError, match=r"has model\.blocks\.0\..* instead"):
        Checkpoint.open(odd)
    apart = renamed(tmp_path / "apart", lambda n: n if "layers" in n else f"_orig_mod.{n}")
    assert Checkpoint.open(apart).parameters
    tensors = load_file(apart / "model.safetensors")
    tensors["model.norm.weight"] = tensors["_orig_mod.model.norm.weight"].clone()
    save_file(tensors, apart / "model.safetensors")
    with pytest.raises(BrokenCheckpointError, match=r"model\.norm\.weight is stored twice"):
        Checkpoint.open(apart)


def unmerged(name: str) -> str:
    return f"base_model.model.{name}".replace("q_proj.weight", "q_proj.base_layer.weight")


def test_an_adapter_that_is_not_merged_is_told_from_a_wrapper(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"unmerged .*q_proj\.base_layer.*merge_and"):
        Checkpoint.open(renamed(tmp_path / "model", unmerged))
