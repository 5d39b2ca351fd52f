"""Every format against transformers: the same pruned model, loaded by the format's own loader."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.families import table
from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.errors import SpecError, UnsupportedModelError, VerificationError
from slimgpt.formats import stock, stock_classes, support
from slimgpt.formats.gguf import architectures, hyperparameters
from slimgpt.formats.gguf import writer as gguf_file
from slimgpt.formats.gguf.hyperparameters import Hyperparameters
from slimgpt.layers.stack import Stack
from slimgpt.spec.prune import GgufType
from slimgpt.verification import formats
from tests.slimgpt.pruned import Kept, lots, publish
from tests.slimgpt.tiny import Tiny, tokens

SHIPPED = Path(__file__).parents[3] / "examples/model"
VOCABULARY = 4104  # room for the shipped tokenizer's ids, and some more
KEYS = (  # of a config, beyond its sizes: what a file says of the model, or what must be so
    *("sliding_window", "query_pre_attn_scalar", "num_experts_per_tok", "norm_topk_prob"),
    *("attn_logit_softcapping", "final_logit_softcapping", "hidden_act", "hidden_activation"),
)
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}


def tiny(family: str, **own: Any) -> Tiny:
    """A tiny model as wide as llama.cpp and the shipped tokenizer want it."""
    return Tiny(family, **{"hidden": 64, "channels": 96, "vocabulary": VOCABULARY, **own})


def eight_heads(family: str, **own: Any) -> Tiny:
    """A tiny model of eight heads, for layers of one size."""
    return tiny(family, heads=8, kv_heads=4, head_dim=8, **own)


FAMILIES = {
    "llama": tiny("llama", llama3_rope=True),
    "llama with linear rope": tiny("llama", own={"rope_parameters": LINEAR}),
    "llama with biases": tiny("llama", biases=True, tied=True),
    "mistral": tiny("mistral", own={"sliding_window": None}),
    "qwen2": tiny("qwen2", tied=True),
    "qwen3": tiny("qwen3", tied=True),
    "phi3": tiny("phi3", own={"sliding_window": None}),
    "granite": tiny("granite"),
    "granite with biases": tiny("granite", biases=True, tied=True),
}

UNCAPPED = {"attn_logit_softcapping": None}
OF_ONE_SIZE = {
    "mixtral": eight_heads("mixtral"),
    "mixtral, scaled": eight_heads("mixtral", llama3_rope=True, tied=True),
    "qwen3": eight_heads("qwen3"),
    "qwen3_moe": eight_heads("qwen3_moe"),
    "gemma2": eight_heads("gemma2", tied=True),
    "gemma2 of 27B": eight_heads("gemma2", tied=True, layers=46, own={"layer_types": None}),
    "gemma3_text": eight_heads("gemma3_text", own=UNCAPPED),
    "gemma3_text, tied": eight_heads(
        "gemma3_text", tied=True, layers=7, own=UNCAPPED | {"layer_types": None}
    ),
}


def in_halves(plan: Hyperparameters) -> Hyperparameters:
    """A plan that leaves queries and keys in transformers' order, which computes nonsense."""
    return replace(plan, build=replace(plan.build, permuted=False))


def pruned(model: Tiny, folder: Path, kept: list[Kept] | None = None) -> Checkpoint:
    """A pruned tiny model with the shipped model's tokenizer."""
    dense = Checkpoint.open(give_tokenizer(model.save(folder / "dense")))
    parts = kept or lots(dense.architecture, seed=2)
    return Checkpoint.open(publish(dense, parts, folder / "pruned"))


def give_tokenizer(folder: Path) -> Path:
    """Put the shipped model's tokenizer into a model folder."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(SHIPPED / name, folder)
    return folder


def alike(groups: int, layers: int = 3) -> list[Kept]:
    """Other pieces of every layer, but as many, of four groups with two heads."""
    starts = [min(start, 4 - groups) for start in range(layers)]
    return [Kept(tuple(range(n, n + groups)), tuple(range(n, 64 + n)), 2) for n in starts]


@pytest.mark.parametrize("name", FAMILIES)
def test_llama_cpp_computes_what_transformers_computes(name: str, tmp_path: Path) -> None:
    from slimgpt.verification.processes.llama_cpp_logprobs import Loaded

    checkpoint = pruned(FAMILIES[name], tmp_path)
    assert stock_classes.uniform_size(checkpoint.architecture.sizes) is None
    gguf_file.write(checkpoint, tmp_path / "model.gguf", "f32")

    model = AutoModelForCausalLM.from_pretrained(checkpoint.folder, trust_remote_code=True).eval()
    probe = tokens(FAMILIES[name], batch=1, length=48)
    with torch.no_grad():
        expected = model(probe).logits[0].double().log_softmax(-1)
    loaded = Loaded(tmp_path / "model.gguf", 48, 1)
    for place in (0, 9, 47):
        found = loaded.next(probe[0, : place + 1].tolist(), VOCABULARY)
        assert len(found) == VOCABULARY
        worst = max(abs(float(expected[place, token]) - value) for token, value in found)
        assert worst < 1e-4


@pytest.mark.parametrize("name", OF_ONE_SIZE)
def test_some_families_have_layers_of_one_size_there(name: str, tmp_path: Path) -> None:
    model = OF_ONE_SIZE[name]
    different = pruned(model, tmp_path / "different")
    with pytest.raises(UnsupportedModelError, match="only with layers of one size"):
        gguf_file.write(different, tmp_path / "model.gguf", "f32")
    assert not (tmp_path / "model.gguf").exists()

    same = pruned(model, tmp_path / "same", alike(2, model.layers))
    gguf_file.write(same, tmp_path / "model.gguf", "f32")
    loaded = AutoModelForCausalLM.from_pretrained(same.folder, trust_remote_code=True).eval()
    probe = tokens(model, batch=2, length=48)
    with torch.no_grad():
        logits = loaded(probe).logits
    proved = formats.prove_gguf(
        same, tmp_path / "model.gguf", "f32", formats.Probe(probe, logits, torch.device("cpu"))
    )
    # llama.cpp looks Gemma's activation up in a table of half precision
    assert proved.max_difference < (0.05 if "gemma" in name else 1e-4)


@pytest.mark.parametrize("stored", ["f16", "bf16", "q8_0"])
def test_rounding_passes_and_another_model_does_not(
    stored: GgufType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rotary positions of twice the base are another model, which a wide bound lets through."""
    shipped, file = Checkpoint.open(SHIPPED), tmp_path / "model.gguf"
    probe = formats.probe_of(shipped, torch.device("cpu"))
    gguf_file.write(shipped, file, stored)
    formats.prove_gguf(shipped, file, stored, probe)

    def turned(*args: Any) -> Hyperparameters:
        plan = blueprint(*args)
        return replace(plan, rope={**plan.rope, "rope_theta": 2 * plan.rope["rope_theta"]})

    blueprint = hyperparameters.blueprint
    monkeypatch.setattr(hyperparameters, "blueprint", turned)
    gguf_file.write(shipped, file, stored)
    with pytest.raises(VerificationError, match="differs"):
        formats.prove_gguf(shipped, file, stored, probe)


def test_rounded_routers_are_judged_by_the_median_and_the_proof_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same, file = pruned(OF_ONE_SIZE["mixtral"], tmp_path, alike(2)), tmp_path / "model.gguf"
    probe = formats.probe_of(same, torch.device("cpu"))
    gguf_file.write(same, file, "bf16")
    assert "bf16, the median of 16 places" in formats.prove_gguf(same, file, "bf16", probe).loader
    blueprint = hyperparameters.blueprint
    monkeypatch.setattr(hyperparameters, "blueprint", lambda *args: in_halves(blueprint(*args)))
    gguf_file.write(same, file, "bf16")
    with pytest.raises(VerificationError, match="differs"):
        formats.prove_gguf(same, file, "bf16", probe)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (eight_heads("qwen3_moe", own={"norm_topk_prob": False}), "norm_topk_prob"),
        (eight_heads("gemma2"), "untied head"),
        (eight_heads("gemma2", tied=True, own=UNCAPPED), "this model does not"),
        (eight_heads("gemma3_text"), "this model does"),
        (eight_heads("gemma3_text", biases=True, own=UNCAPPED), "biases of queries"),
        (tiny("olmo2"), "to be the hidden size"),
        (tiny("opt"), "no architecture for opt"),
    ],
    ids=str,
)
def test_what_llama_cpp_computes_otherwise_is_refused(
    model: Tiny, reason: str, tmp_path: Path
) -> None:
    dense = Checkpoint.open(model.save(tmp_path / "dense"))
    assert reason in hyperparameters.obstacle(dense.architecture, dense.config)


@pytest.mark.parametrize("family", architectures.ARCHITECTURES)
def test_a_key_that_is_left_out_means_what_it_means_to_transformers(family: str) -> None:
    row = table.FAMILIES[family]
    config = AutoConfig.for_model(family)
    for key, value in row.defaults.items():
        if key not in ("decoder_sparse_step", "num_local_experts"):
            assert getattr(config, key) == value, key
    written = {"rms_norm_eps", row.keys.positions, *KEYS}
    known = {key for key in written if getattr(config, key, None)}
    assert known <= {*row.defaults}


def greedy(loaded: Any, prompt: list[int], count: int) -> list[int]:
    """The prompt's most likely continuation by llama.cpp, token by token."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(loaded.next(tokens, 1)[0][0])
    return tokens[len(prompt) :]


@pytest.mark.parametrize("stored", ["f16", "bf16", "f32"])
def test_the_shipped_model_tells_the_same_story(stored: GgufType, tmp_path: Path) -> None:
    from slimgpt.verification.processes.llama_cpp_logprobs import Loaded

    gguf_file.write(Checkpoint.open(SHIPPED), tmp_path / "model.gguf", stored)
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    prompt = tokenizer("The following function returns")["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(SHIPPED).eval()
    told = model.generate(torch.tensor([prompt]), max_new_tokens=16, do_sample=False)
    loaded = Loaded(tmp_path / "model.gguf", 64, 1)
    text = "Straße 12,\n\n  x=[3];\tit's 你好 \U0001f600"
    assert loaded.cut(text) == tokenizer(text)["input_ids"]
    assert greedy(loaded, prompt, 16) == told[0, len(prompt) :].tolist()


def test_sentencepiece_cuts_as_transformers_does(shared: Path, tmp_path: Path) -> None:
    from slimgpt.verification.processes.llama_cpp_logprobs import Loaded

    folder = shared / "models/stories260K"
    gguf_file.write(Checkpoint.open(folder), tmp_path / "model.gguf", "f32")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    loaded = Loaded(tmp_path / "model.gguf", 64, 1)
    text = "Once upon a time,  Lily saw 12 größere Hunde.\n你好"
    assert loaded.cut(text) == tokenizer(text)["input_ids"]
    prompt = tokenizer("Once upon a time")["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    told = model.generate(torch.tensor([prompt]), max_new_tokens=16, do_sample=False)
    assert greedy(loaded, prompt, 16) == told[0, len(prompt) :].tolist()


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "phi3"])
def test_padding_computes_the_same_in_a_stock_class(name: str, tmp_path: Path) -> None:
    checkpoint = pruned(FAMILIES[name], tmp_path)
    (tmp_path / "padded").mkdir()
    stock.write_padded(checkpoint, tmp_path / "padded")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "padded").eval()  # trusts no code
    probe = tokens(FAMILIES[name])
    with torch.no_grad():
        found = model(probe).logits
    torch.testing.assert_close(
        found, Stack(checkpoint, torch.device("cpu")).logits(probe), rtol=1e-5, atol=1e-4
    )
    assert not (tmp_path / "padded/modeling_slimgpt.py").exists()


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("groups", [2, 3])  # 3 × 2 heads do not divide the hidden size 64
def test_layers_of_one_size_are_a_stock_class(name: str, groups: int, tmp_path: Path) -> None:
    model = tiny(name, heads=8, kv_heads=4, head_dim=8)
    checkpoint = pruned(model, tmp_path, alike(groups))
    (tmp_path / "uniform").mkdir()
    stock.write_uniform(checkpoint, tmp_path / "uniform")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "uniform").eval()
    if name == "llama":
        assert loaded.config.model_type == ("llama" if groups == 2 else "mistral")
    probe = tokens(model)
    with torch.no_grad():
        found = loaded(probe).logits
    assert torch.equal(found, Stack(checkpoint, torch.device("cpu")).logits(probe))


def test_what_a_format_cannot_hold_is_said_with_the_reason(tmp_path: Path) -> None:
    dense = Checkpoint.open(Tiny("opt").save(tmp_path / "opt"))
    with pytest.raises(SpecError, match="opt"):
        support.require("gguf", dense.architecture, dense.config)
    different = pruned(FAMILIES["llama"], tmp_path / "llama")
    with pytest.raises(SpecError, match="differ in size"):
        support.require("uniform", different.architecture, different.config)
    scaled = dict(different.config, rope_scaling={"rope_type": "yarn", "factor": 2.0})
    assert "yarn" in hyperparameters.obstacle(different.architecture, scaled)
    partial = Tiny("phi3", own={"partial_rotary_factor": 0.5}).save(tmp_path / "phi3")
    turned = Checkpoint.open(partial)
    assert "the whole width" in hyperparameters.obstacle(turned.architecture, turned.config)


def test_a_tokenizer_that_llama_cpp_does_not_know_is_refused(tmp_path: Path) -> None:
    folder = give_tokenizer(tiny("llama").save(tmp_path / "dense"))
    told = json.loads((folder / "tokenizer.json").read_text())
    words = {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}
    (folder / "tokenizer.json").write_text(json.dumps(told | {"model": words, "added_tokens": []}))
    with pytest.raises(UnsupportedModelError, match="WordLevel, not BPE"):
        gguf_file.write(Checkpoint.open(folder), tmp_path / "model.gguf", "f32")
    assert not (tmp_path / "model.gguf").exists()


def test_phi_3_is_named_where_its_tokens_are_and_nowhere_else(tmp_path: Path) -> None:
    """llama.cpp knows these tokens by the file's name, and takes no file without them."""
    folder = give_tokenizer(tiny("phi3").save(tmp_path / "my-phi-3"))
    checkpoint = Checkpoint.open(folder)
    ours = gguf_file.read_vocabulary(checkpoint)
    assert gguf_file.name_for(checkpoint, ours, "my-phi-3") == "my-phi"
    theirs = replace(ours, tokens=["<unk>", "<s>", "</s>", "<|endoftext|>", *ours.tokens])
    assert gguf_file.name_for(checkpoint, theirs, "my-phi-3") == "Phi-3 my-phi"


def test_loaders_are_told_by_the_sizes(tmp_path: Path) -> None:
    dense = Checkpoint.open(Tiny("llama", hidden=64, channels=96).save(tmp_path / "dense"))
    sizes = [LayerSize(4, 2, 96), LayerSize(2, 1, 64), LayerSize(4, 2, 32)]
    told = support.loaders(support.sized(dense.architecture, sizes))
    assert "all row lengths are multiples of 32" in told["32-blocks"]
    assert "hidden size" in told["256-blocks"]
    assert told["tensor parallel"] == (
        "tensor parallel: not possible; no number of devices divides heads, KV heads and FFN "
        "widths of all layers"
    )
