"""Weights of a published checkpoint: the files that `save_pretrained` would write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from slimgpt.checkpoints import safetensors_header, shards
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.safetensors_header import TensorInfo
from slimgpt.errors import BrokenCheckpointError
from tests.slimgpt.tiny import Tiny

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(
    lambda name: name != "__metadata__"
)


@given(
    st.lists(st.dictionaries(NAMES, st.lists(st.integers(0, 5), max_size=3)), max_size=4),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
@settings(deadline=None, max_examples=50)
def test_several_files_become_the_one_that_the_library_writes(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[dict[str, list[int]]],
    dtype: torch.dtype,
) -> None:
    folder = tmp_path_factory.mktemp("files")
    tensors: dict[str, torch.Tensor] = {}
    infos: dict[str, TensorInfo] = {}
    for number, shapes in enumerate(files):
        part = {name: torch.randn(shape).to(dtype) for name, shape in shapes.items()}
        save_file(part, folder / f"{number}")
        tensors |= part
        infos |= safetensors_header.read(folder / f"{number}")
    shards.save(infos, folder / "ours")
    save_file(tensors, folder / "theirs", metadata={"format": "pt"})
    assert (folder / "ours").read_bytes() == (folder / "theirs").read_bytes()


@pytest.mark.parametrize("largest", [1, 40_000, 10**9])
def test_shards_hold_every_tensor_once_and_no_more_than_they_may(
    tmp_path: Path, largest: int
) -> None:
    checkpoint = Checkpoint.open(Tiny(layers=4, max_shard_size="20KB").save(tmp_path / "model"))
    folder = tmp_path / "out"
    folder.mkdir()
    shards.write(checkpoint.tensors, folder, largest)
    (folder / "config.json").write_text(json.dumps(checkpoint.config))
    made = Checkpoint.open(folder)
    one, two = made.load(made.tensors), checkpoint.load(checkpoint.tensors)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    found = sorted(file.name for file in folder.glob("*.safetensors"))
    if largest == 10**9:
        assert found == ["model.safetensors"]
        return
    count = len(found)
    assert found == [f"model-{n:05d}-of-{count:05d}.safetensors" for n in range(1, count + 1)]
    for name in found:
        inside = safetensors_header.read(folder / name).values()
        assert len(inside) == 1 or sum(info.bytes for info in inside) <= largest
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == checkpoint.bytes


def test_a_source_that_was_truncated_leaves_no_file(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(Tiny().save(tmp_path / "model"))
    source = tmp_path / "model/model.safetensors"
    source.write_bytes(source.read_bytes()[:-1])
    with pytest.raises(BrokenCheckpointError, match="was truncated"):
        shards.save(checkpoint.tensors, tmp_path / "out.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
