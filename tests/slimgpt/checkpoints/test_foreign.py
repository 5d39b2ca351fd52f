"""Models stored under other names compute what they would under their own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.output import whole_model
from slimgpt.errors import UnsupportedModelError
from slimgpt.layers.stack import Stack
from slimgpt.texts.tokenizer import Tokenizer
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
        ({"vocab_size": 125_696}, "Baichuan2 model cannot be pruned.*normalised"),
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
