"""Opening a checkpoint: what is found, and that everything wrong is refused and named."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.families import table
from slimgpt.errors import (
    BrokenCheckpointError,
    ModelNotFoundError,
    SlimGPTError,
    UnsupportedModelError,
)
from slimgpt.layers import surgery
from tests.hub import cached
from tests.slimgpt.tiny import FAMILIES, Tiny

VARIANTS = [
    *(Tiny(family, biases=True, head_dim=16) for family in FAMILIES),
    Tiny(tied=True),
    Tiny("qwen2", tied=True, max_shard_size="20KB", dtype="bfloat16"),
    Tiny("mistral", max_shard_size="10KB", dtype="float16"),
]
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
QUERY = "model.layers.1.self_attn.q_proj.weight"


@pytest.mark.parametrize("tiny", VARIANTS, ids=str)
def test_all_of_a_model_is_found_and_read_as_it_was_saved(tiny: Tiny, tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(tiny.save(tmp_path / "model"))
    model = tiny.build()
    state = model.state_dict()
    assert checkpoint.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert checkpoint.bytes == checkpoint.parameters * (4 if tiny.dtype == "float32" else 2)
    assert checkpoint.architecture.dtype == tiny.dtype
    family = checkpoint.architecture.family
    for index in range(tiny.layers):
        layer, prefix = checkpoint.layer(index), f"{family.layers}.{index}."
        layer = surgery.fused(layer, checkpoint.architecture)
        assert set(layer) == set(model.get_submodule(prefix[:-1]).state_dict())
        assert all(torch.equal(layer[k], state[prefix + k]) for k in layer)
    outer = checkpoint.load(checkpoint.outer_names())
    if not tiny.tied:
        assert torch.equal(outer.pop(f"{family.head}.weight"), model.lm_head.weight)
    assert all(torch.equal(outer[name], state[name]) for name in outer)
    assert {f"{family.embedding}.weight", f"{family.final_norm}.weight"} <= set(outer)


def test_another_process_is_sent_a_checkpoint(tmp_path: Path) -> None:
    for family in table.FAMILIES.values():
        assert pickle.loads(pickle.dumps(family)) is family
    checkpoint = Checkpoint.open(Tiny("mixtral").save(tmp_path / "model"))
    assert pickle.loads(pickle.dumps(checkpoint)) == checkpoint


def test_tensors_read_do_not_hang_on_the_file(tmp_path: Path) -> None:
    folder = Tiny().save(tmp_path / "model")
    tensors = Checkpoint.open(folder).layer(0)
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(0)
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())


def test_reading_a_deep_model_layer_by_layer_keeps_one_layer(tmp_path: Path) -> None:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("no /proc: the resident set cannot be read here")

    def resident() -> int:
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    checkpoint = Checkpoint.open(Tiny(layers=16, hidden=256, channels=2048).save(tmp_path / "deep"))
    size = sum(tensor.nbytes for tensor in checkpoint.layer(0).values())
    before, after = resident(), []
    for index in range(16):
        checkpoint.layer(index)
        after.append(resident())
    assert max(after) - before < 4 * size < checkpoint.bytes / 3


def test_opening_imports_neither_torch_nor_transformers(tmp_path: Path) -> None:
    folder = Tiny().save(tmp_path / "model")
    code = (
        "import sys; from pathlib import Path; "
        "from slimgpt.checkpoints.checkpoint import Checkpoint; "
        "Checkpoint.open(Path(sys.argv[1])); print('torch' in sys.modules, "
        "'transformers' in sys.modules)"
    )
    printed = subprocess.check_output([sys.executable, "-c", code, folder], text=True)
    assert printed.split() == ["False", "False"]


def test_buffers_of_old_llamas_and_a_stored_tied_head_are_left_out(tmp_path: Path) -> None:
    folder = Tiny(tied=True).save(tmp_path / "model")
    before = Checkpoint.open(folder)
    edit(folder, lambda t: t.update({HEAD: t[EMBEDDING].clone()}))
    edit(folder, lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": t[HEAD][0]}))
    after = Checkpoint.open(folder)
    assert list(after.tensors) == list(before.tensors)
    assert after.parameters == before.parameters


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the tensors of a model that is one file."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, file)


def edit_config(folder: Path, **values: Any) -> None:
    """Change keys of the config."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def truncate(file: Path, size: int) -> None:
    """Tear a file."""
    with file.open("r+b") as stream:
        stream.truncate(size if size >= 0 else file.stat().st_size + size)


def pickle_only(folder: Path) -> None:
    """What old repositories look like."""
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def adapter(folder: Path) -> None:
    """What PEFT saves."""
    (folder / "config.json").rename(folder / "adapter_config.json")


def cast(dtype: torch.dtype, name: str) -> Callable[[Path], None]:
    """Store one tensor in another format."""
    return lambda folder: edit(folder, lambda t: t.update({name: t[name].to(dtype)}))


def overwrite(name: str, content: bytes) -> Callable[[Path], int]:
    """Replace a file."""
    return lambda folder: (folder / name).write_bytes(content)


WEIGHTS = "model.safetensors"
FAULTS: dict[str, tuple[Callable[[Path], Any], type[SlimGPTError], str]] = {
    "no config": (
        lambda f: (f / "config.json").unlink(),
        BrokenCheckpointError,
        "config.json is missing",
    ),
    "adapter": (adapter, UnsupportedModelError, "in addition to its weights: .* merge the adapter"),
    "torn config": (
        overwrite("config.json", b'{"model_type": "lla'),
        BrokenCheckpointError,
        "config.json is not JSON",
    ),
    "config is a list": (
        overwrite("config.json", b"[]"),
        BrokenCheckpointError,
        "config.json is not a JSON object",
    ),
    "other family": (
        lambda f: edit_config(f, model_type="bloom"),
        UnsupportedModelError,
        "model_type 'bloom' is not supported",
    ),
    "remote code": (
        lambda f: edit_config(f, model_type="mymodel", auto_map={"AutoModel": "code.Model"}),
        UnsupportedModelError,
        "model_type 'mymodel' is not supported: it needs code from the model.*never run",
    ),
    "pointer": (
        overwrite(WEIGHTS, b"version https://git-lfs.example/spec/v1\noid sha256:00\nsize 9\n"),
        BrokenCheckpointError,
        "model.safetensors is a Git LFS pointer, not the file itself; run `git lfs pull`",
    ),
    "fp8 by its config": (
        lambda f: edit_config(f, quantization_config={"quant_method": "fp8"}),
        UnsupportedModelError,
        r"quantised \(fp8\); prune the full-precision checkpoint",
    ),
    "quantised": (
        lambda f: edit_config(f, quantization_config={"quant_method": "awq"}),
        UnsupportedModelError,
        r"quantised \(awq\)",
    ),
    "no weights": (
        lambda f: (f / WEIGHTS).unlink(),
        BrokenCheckpointError,
        "the folder has no weights",
    ),
    "pickles": (pickle_only, UnsupportedModelError, r"pickled \(pytorch_model.bin\).*save_pretr"),
    "too many layers": (
        lambda f: edit_config(f, num_hidden_layers=10**9),
        UnsupportedModelError,
        "1000000000 layers, at most 4096 are supported",
    ),
    "odd sizes of layers": (
        lambda f: edit_config(f, per_layer_config=[1]),
        BrokenCheckpointError,
        "per_layer_config is not a mapping",
    ),
    "torn at the end": (
        lambda f: truncate(f / WEIGHTS, -10),
        BrokenCheckpointError,
        r"truncated or damaged: its header describes \d+ bytes of tensors, the file has \d+",
    ),
    "torn in the header": (
        lambda f: truncate(f / WEIGHTS, 100),
        BrokenCheckpointError,
        r"its header should have \d+ bytes, the whole file has 100",
    ),
    "empty": (lambda f: truncate(f / WEIGHTS, 0), BrokenCheckpointError, "truncated.*file has 0"),
    "a web page": (
        overwrite(WEIGHTS, b"<html>" * 100),
        BrokenCheckpointError,
        "its header should have",
    ),
    "header is not JSON": (
        overwrite(WEIGHTS, (4).to_bytes(8, "little") + b"{{{{"),
        BrokenCheckpointError,
        "header is not JSON",
    ),
    "missing tensor": (
        lambda f: edit(f, lambda t: t.pop(QUERY)),
        BrokenCheckpointError,
        f"the weights lack {QUERY}",
    ),
    "shape": (
        lambda f: edit(f, lambda t: t.update({QUERY: t[QUERY][:-1].contiguous()})),
        BrokenCheckpointError,
        rf"{QUERY} in model.safetensors has shape \[31, 32\], config.json says \[32, 32\]",
    ),
    "unknown tensor": (
        lambda f: edit(f, lambda t: t.update({"model.layers.0.mlp.extra.weight": t[QUERY]})),
        UnsupportedModelError,
        "model.layers.0.mlp.extra.weight in model.safetensors: Llama models have no such tensor",
    ),
    "one layer too many": (
        lambda f: edit_config(f, num_hidden_layers=2),
        UnsupportedModelError,
        r"model.layers.2.*and 8 more",
    ),
    "fp8": (
        cast(torch.float8_e4m3fn, QUERY),
        UnsupportedModelError,
        f"{QUERY} has dtype F8_E4M3",
    ),
    "integers": (
        cast(torch.int8, QUERY),
        UnsupportedModelError,
        "has dtype I8, which is not supported",
    ),
    "mixed precision": (
        cast(torch.bfloat16, QUERY),
        UnsupportedModelError,
        "more than one dtype: 29 in float32, 1 in bfloat16",
    ),
    "tied but different": (
        lambda f: edit_config(f, tie_word_embeddings=True),
        BrokenCheckpointError,
        "config.json ties lm_head.weight to model.embed_tokens.weight",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong_is_refused_and_named(name: str, tmp_path: Path) -> None:
    fault, error, message = FAULTS[name]
    folder = Tiny().save(tmp_path / "model")
    fault(folder)
    with pytest.raises(error, match=message) as caught:
        Checkpoint.open(folder)
    assert caught.value.hint


VARIANTS_REFUSED: dict[str, tuple[Tiny, dict[str, Any], str]] = {
    "norms after the sum": (
        Tiny("opt"),
        {"do_layer_norm_before": False},
        r"OPT model cannot be pruned: its norms come after the residual sum .*OPT-350m",
    ),
    "projected embeddings": (Tiny("opt"), {"word_embed_proj_dim": 16}, "word_embed_proj_dim"),
    "norms without weights": (
        Tiny("opt"),
        {"layer_norm_elementwise_affine": False},
        "its norms have no weights",
    ),
    "ALiBi": (Tiny("falcon"), {"alibi": True}, "its positions are ALiBi slopes"),
    "experts here and there": (
        Tiny("qwen3_moe"),
        {"mlp_only_layers": [1]},
        "some of its layers have experts and others have none",
    ),
    "cross-attention": (Tiny("gpt2"), {"add_cross_attention": True}, "attends to an encoder"),
    "both ways": (
        Tiny("gemma3_text"),
        {"use_bidirectional_attention": True},
        "its attention is not causal",
    ),
    "vision": (
        Tiny("gemma3_text"),
        {"model_type": "gemma3"},
        "'gemma3' is not supported: it has a vision tower; .*`gemma3_text`",
    ),
}


@pytest.mark.parametrize("name", VARIANTS_REFUSED)
def test_members_of_a_family_that_are_built_otherwise_are_refused(
    name: str, tmp_path: Path
) -> None:
    tiny, change, message = VARIANTS_REFUSED[name]
    folder = tiny.save(tmp_path / "model")
    edit_config(folder, **change)
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        Checkpoint.open(folder)
    assert caught.value.hint


def test_an_unsupported_family_is_told_all_that_are(tmp_path: Path) -> None:
    folder = Tiny().save(tmp_path / "model")
    edit_config(folder, model_type="bloom")
    with pytest.raises(UnsupportedModelError) as caught:
        Checkpoint.open(folder)
    assert all(family in caught.value.hint for family in FAMILIES)


def test_shards_are_named_when_missing_torn_or_doubled(tmp_path: Path) -> None:
    folder = Tiny(max_shard_size="40KB").save(tmp_path / "model")
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 2
    whole = shards[1].read_bytes()
    truncate(shards[1], -1)
    with pytest.raises(BrokenCheckpointError, match=f"{shards[1].name} is truncated"):
        Checkpoint.open(folder)
    shards[1].unlink()
    with pytest.raises(BrokenCheckpointError, match=f"{shards[1].name} is missing"):
        Checkpoint.open(folder)
    shutil.copyfile(shards[0], shards[1])
    with pytest.raises(BrokenCheckpointError, match="is stored twice"):
        Checkpoint.open(folder)
    shards[1].write_bytes(whole)
    Checkpoint.open(folder)


@pytest.mark.parametrize("name", ["../model-00001.safetensors", "/etc/passwd", "sub/x.safetensors"])
def test_an_index_may_name_files_beside_it_only(name: str, tmp_path: Path) -> None:
    folder = Tiny(max_shard_size="40KB").save(tmp_path / "model")
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"][QUERY] = name
    index.write_text(json.dumps(content))
    with pytest.raises(BrokenCheckpointError, match="not the name of a file"):
        Checkpoint.open(folder)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    file = tmp_path / "file"
    file.touch()
    for path in (tmp_path / "absent", circle, file):
        with pytest.raises(ModelNotFoundError, match="there is no model folder"):
            Checkpoint.open(path)


def test_links_may_stay_within_the_root_as_in_a_hub_cache(tmp_path: Path) -> None:
    root = tmp_path / "hub"
    snapshot = cached(Tiny().save(tmp_path / "model"), root, "tiny/model")
    assert Checkpoint.open(snapshot, within=root).parameters
    with pytest.raises(ModelNotFoundError, match=r"config\.json is a link that leads out"):
        Checkpoint.open(snapshot, within=snapshot.parent)
    (root / "alias").symlink_to(Tiny().save(tmp_path / "outside"))
    with pytest.raises(ModelNotFoundError, match="alias leads out"):
        Checkpoint.open(root / "alias", within=root)
    assert Checkpoint.open(root / "alias").parameters


def test_weights_must_be_regular_files(tmp_path: Path) -> None:
    folder = Tiny().save(tmp_path / "model")
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to("/dev/zero")
    with pytest.raises(BrokenCheckpointError, match="not a regular file"):
        Checkpoint.open(folder)
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to("nowhere")
    with pytest.raises(BrokenCheckpointError, match=f"{WEIGHTS} is missing"):
        Checkpoint.open(folder)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model to be broken again and again."""
    return Tiny(layers=1).save(tmp_path_factory.mktemp("victim") / "model")


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_a_config_says_it_is_read_or_refused(data: st.DataObject, victim: Path) -> None:
    file = victim / "config.json"
    good = file.read_bytes()
    config = json.loads(good)
    key = data.draw(st.sampled_from([*config, "per_layer_config", "quantization_config"]))
    file.write_text(json.dumps(config | {key: data.draw(JSON)}))
    try:
        with suppress(SlimGPTError):
            assert Checkpoint.open(victim).parameters
    finally:
        file.write_bytes(good)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_a_header_says_it_is_read_or_refused(data: st.DataObject, victim: Path) -> None:
    file = victim / WEIGHTS
    good = file.read_bytes()
    length = int.from_bytes(good[:8], "little")
    entries = json.loads(good[8 : 8 + length])
    name = data.draw(st.sampled_from(sorted(set(entries) - {"__metadata__"})))
    key = data.draw(st.sampled_from(["dtype", "shape", "data_offsets"]))
    number = st.integers(-5, 5000) | JSON
    entries[name][key] = data.draw(JSON | st.lists(number, min_size=1, max_size=2))
    header = json.dumps(entries).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + good[8 + length :])
    try:
        with suppress(SlimGPTError):
            assert Checkpoint.open(victim).load([name])[name].isfinite().all()
    finally:
        file.write_bytes(good)
