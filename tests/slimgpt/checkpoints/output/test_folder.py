"""The published folder: what plain transformers makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.output import folder as published
from slimgpt.errors import ModelNotFoundError
from tests.slimgpt.pruned import Kept, lots, mask, publish
from tests.slimgpt.tiny import FALCON_7B, FALCON_OLD, FAMILIES, Tiny, tokens

VARIANTS = [
    *(Tiny(family) for family in FAMILIES),
    Tiny("llama", biases=True, llama3_rope=True),
    Tiny("llama", tied=True, max_shard_size="20KB"),
    Tiny("mistral", head_dim=16),
    Tiny("qwen2", tied=True, kv_heads=4),
    Tiny("qwen3", head_dim=16, biases=True, heads=8),
    Tiny("llama", layers=12, hidden=16, channels=8),
    Tiny("stablelm", own={"use_parallel_residual": True, "qk_layernorm": True}),
    Tiny("gpt_neox", own={"use_parallel_residual": False}),
    Tiny("gpt2", tied=True, own={"scale_attn_by_inverse_layer_idx": True}),
    Tiny("opt", tied=True),
    Tiny("falcon", own=FALCON_7B, kv_heads=1),
    Tiny("falcon", own=FALCON_OLD, kv_heads=4),
]
AUTO_CLASSES = {
    *("AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification"),
    "AutoModelForTokenClassification",
}
EACH_FAMILY = [Tiny(family, biases=True) for family in FAMILIES]


def load(folder: Path, kind: Any = AutoModelForCausalLM) -> Any:
    """As the modelling file tells its readers to."""
    return kind.from_pretrained(folder, trust_remote_code=True, dtype="auto").eval()


@torch.no_grad()
def logits(model: Any, ids: Tensor) -> Tensor:
    """Of one batch, (batch, seq, vocab)."""
    values: Tensor = model(ids, use_cache=False).logits
    return values


@pytest.fixture(autouse=True)
def _modules_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modelling files are imported from a folder of the test's own."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "py"))


def pruned(tiny: Tiny, home: Path) -> Path:
    """The model pruned by lot, and published."""
    checkpoint = Checkpoint.open(tiny.save(home / "dense"))
    return publish(checkpoint, lots(checkpoint.architecture), home / "pruned")


@pytest.mark.parametrize("tiny", VARIANTS, ids=str)
def test_the_sliced_model_computes_what_the_masked_dense_model_computes(
    tiny: Tiny, tmp_path: Path
) -> None:
    checkpoint = Checkpoint.open(tiny.save(tmp_path / "dense"))
    kept = lots(checkpoint.architecture)
    model = load(publish(checkpoint, kept, tmp_path / "pruned"))
    ids = tokens(tiny)
    expected = logits(mask(tiny.build(), checkpoint.architecture, kept), ids)
    torch.testing.assert_close(logits(model, ids), expected, rtol=1e-4, atol=1e-5)
    assert (logits(tiny.build(), ids) - expected).abs().max() > 0.1


@pytest.mark.parametrize("tiny", EACH_FAMILY, ids=lambda tiny: tiny.family)
def test_nothing_removed_is_the_same_model_bit_for_bit(tiny: Tiny, tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(tiny.save(tmp_path / "dense"))
    everything = [
        Kept(tuple(range(size.kv_heads)), tuple(range(size.channels)), size.heads // size.kv_heads)
        for size in checkpoint.architecture.sizes
    ]
    folder = publish(checkpoint, everything, tmp_path / "same")
    stored = Checkpoint.open(folder).load(checkpoint.tensors)
    for name, tensor in checkpoint.load(checkpoint.tensors).items():
        assert torch.equal(stored[name], tensor), name
    ids = tokens(tiny)
    assert torch.equal(logits(load(folder), ids), logits(tiny.build(), ids))


@pytest.mark.parametrize("tiny", EACH_FAMILY, ids=lambda tiny: tiny.family)
def test_generation_with_a_cache_is_generation_without(tiny: Tiny, tmp_path: Path) -> None:
    model = load(pruned(tiny, tmp_path))
    prompt = tokens(tiny, batch=2, length=5)
    options: dict[str, Any] = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
    options["pad_token_id"] = 0
    mask = torch.ones_like(prompt)
    without = model.generate(prompt, attention_mask=mask, use_cache=False, **options)
    assert torch.equal(model.generate(prompt, attention_mask=mask, **options), without)
    static = model.generate(prompt, attention_mask=mask, cache_implementation="static", **options)
    assert torch.equal(static, without)
    cache = model(prompt, use_cache=True).past_key_values
    cached = [layer.keys.shape[1] for layer in cache.layers]
    sizes = Checkpoint.open(tmp_path / "pruned").architecture.sizes
    falcon = tiny.family == "falcon"  # repeats its keys before it caches them
    assert cached == [size.heads if falcon else size.kv_heads for size in sizes]


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft asks for it
def test_lora_attaches_and_merges(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    tiny = Tiny("qwen2")
    model, ids = load(pruned(tiny, tmp_path)), tokens(tiny)
    before = logits(model, ids)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear"))
    assert torch.equal(logits(adapted, ids), before)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)
    adapted_logits = logits(adapted, ids)
    assert (adapted_logits - before).abs().max() > 0.1
    merged = adapted.merge_and_unload()
    torch.testing.assert_close(logits(merged, ids), adapted_logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tiny", [Tiny("qwen3"), Tiny(layers=12)], ids=str)
def test_a_loaded_model_can_be_saved_and_loaded_again(tiny: Tiny, tmp_path: Path) -> None:
    first = load(pruned(tiny, tmp_path))
    first.save_pretrained(tmp_path / "again")
    second = load(tmp_path / "again")
    ids = tokens(tiny)
    assert torch.equal(logits(second, ids), logits(first, ids))
    read = Checkpoint.open(tmp_path / "again")
    assert set(read.config["auto_map"]) == AUTO_CLASSES
    assert read.architecture.sizes == Checkpoint.open(tmp_path / "pruned").architecture.sizes


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
def test_gradients_with_checkpointing_are_the_gradients_without(tmp_path: Path) -> None:
    tiny = Tiny("mistral")
    model, ids = load(pruned(tiny, tmp_path)), tokens(tiny)

    def gradients() -> dict[str, Tensor]:
        model.train().zero_grad()
        model(ids, labels=ids, use_cache=False).loss.backward()
        return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    plain = gradients()
    model.gradient_checkpointing_enable()
    torch.testing.assert_close(gradients(), plain)


def test_a_pruned_model_can_be_pruned_again(tmp_path: Path) -> None:
    tiny = Tiny("qwen2", heads=8, kv_heads=4)
    once = Checkpoint.open(pruned(tiny, tmp_path))
    kept = lots(once.architecture, seed=5)
    twice = Checkpoint.open(publish(once, kept, tmp_path / "twice"))
    assert twice.architecture.sizes == tuple(layer.size for layer in kept)
    assert twice.parameters < once.parameters
    ids = tokens(tiny)
    expected = logits(mask(load(once.folder), once.architecture, kept), ids)
    torch.testing.assert_close(logits(load(twice.folder), ids), expected, rtol=1e-4, atol=1e-5)


def test_the_body_loads_alone(tmp_path: Path) -> None:
    folder = pruned(Tiny("qwen3"), tmp_path)
    body, whole, ids = load(folder, AutoModel), load(folder), tokens(Tiny())
    with torch.no_grad():
        hidden = body(ids, use_cache=False).last_hidden_state
        assert torch.equal(whole.lm_head(hidden), whole(ids, use_cache=False).logits)


def test_a_dense_model_loads_beside_a_pruned_one(tmp_path: Path) -> None:
    """Remote code is registered for a whole process; it must not change what others load."""
    tiny = Tiny()
    load(pruned(tiny, tmp_path))
    dense = AutoModelForCausalLM.from_pretrained(tmp_path / "dense").eval()
    ids = tokens(tiny)
    assert torch.equal(logits(dense, ids), logits(tiny.build(), ids))


def config_of(parent: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The published config of a model whose parent's config has some keys changed (None: gone)."""
    file = Tiny().save(folder) / "config.json"
    old = json.loads(file.read_text()) | parent
    file.write_text(json.dumps({key: value for key, value in old.items() if value is not None}))
    checkpoint = Checkpoint.open(folder)
    return published.config(checkpoint, checkpoint.architecture.sizes)


OLD = {"rope_parameters": None, "dtype": None, "torch_dtype": "float32"}
LINEAR = {"rope_type": "linear", "factor": 2.0}
ROPES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (OLD, {"rope_type": "default", "rope_theta": 10000.0}),
    (OLD | {"rope_theta": 5e5}, {"rope_type": "default", "rope_theta": 5e5}),
    (OLD | {"rope_scaling": {"type": "linear", "factor": 2.0}}, LINEAR | {"rope_theta": 10000.0}),
    (OLD | {"rope_theta": 3.0, "rope_scaling": LINEAR}, LINEAR | {"rope_theta": 3.0}),
    ({"rope_parameters": LINEAR | {"rope_theta": 3.0}}, LINEAR | {"rope_theta": 3.0}),
    (
        {"rope_parameters": {"rope_type": "default", "rope_theta": 3.0}, "rope_scaling": LINEAR},
        LINEAR | {"rope_theta": 10000.0},
    ),
]


@pytest.mark.parametrize(("parent", "parameters"), ROPES)
def test_rotary_positions_are_written_for_old_and_new_transformers(
    parent: dict[str, Any], parameters: dict[str, Any], tmp_path: Path
) -> None:
    config = config_of(parent, tmp_path / "model")
    assert config["rope_parameters"] == parameters
    assert config["rope_theta"] == parameters["rope_theta"]
    scaling = {key: value for key, value in parameters.items() if key != "rope_theta"}
    assert config["rope_scaling"] == (None if scaling == {"rope_type": "default"} else scaling)
    read = dict(AutoConfig.from_pretrained(tmp_path / "model").rope_parameters)
    read.pop("type", None)  # the old name of `rope_type`
    assert config["rope_parameters"] == read


def test_the_config_is_the_parents_own_but_for_what_pruning_changes(tmp_path: Path) -> None:
    parent = {"my_key": {"kept": True}, "_name_or_path": "/home/someone", "head_dim": None}
    config = config_of(parent, tmp_path / "model")
    assert config["my_key"] == {"kept": True}
    assert "_name_or_path" not in config
    assert (config["model_type"], config["head_dim"]) == ("llama", 8)
    assert (config["num_attention_heads"], config["intermediate_size"]) == (4, 48)
    assert config["dtype"] == config["torch_dtype"] == "float32"
    assert config["architectures"] == ["SlimGPTLlamaForCausalLM"]
    assert set(config["auto_map"]) == AUTO_CLASSES
    assert config["per_layer_config"]["2"] == {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
    }


def test_tokenizer_generation_settings_and_licence_come_along(tmp_path: Path) -> None:
    dense = Tiny(tokenizer=True).save(tmp_path / "dense")
    for name in ("LICENSE.txt", "USE_POLICY.md", "chat_template.jinja", "Notice"):
        (dense / name).write_text(f"text of {name}")
    for name in ("README.md", "modeling_other.py", "license.py", "pytorch_model.bin"):
        (dense / name).write_text("stays behind")
    checkpoint = Checkpoint.open(dense)
    folder = publish(checkpoint, lots(checkpoint.architecture), tmp_path / "pruned")
    assert {file.name for file in folder.iterdir() if file.suffix != ".safetensors"} == {
        *("LICENSE.txt", "USE_POLICY.md", "chat_template.jinja", "Notice"),
        *("config.json", "generation_config.json", "modeling_slimgpt.py"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    assert (folder / "Notice").read_text() == "text of Notice"
    assert AutoTokenizer.from_pretrained(folder)("ab").input_ids


def test_a_companion_that_leads_out_of_the_models_is_not_copied(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a secret")
    models = tmp_path / "models"
    dense = Tiny().save(models / "dense")
    (dense / "tokenizer.json").symlink_to(secret)
    checkpoint = Checkpoint.open(dense, within=models)
    with pytest.raises(ModelNotFoundError, match=r"tokenizer\.json is a link that leads out"):
        publish(checkpoint, lots(checkpoint.architecture), tmp_path / "pruned")
    assert not (tmp_path / "pruned").exists()
