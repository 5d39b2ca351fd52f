"""The proof of load: a fresh process, the same logits, and what is said when they differ."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch
import transformers

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import VerificationError
from slimgpt.layers.stack import Stack
from slimgpt.verification.reload import Loading, bound, prove, verify
from tests.compatibility.old_transformers import publish_all, reload_all
from tests.slimgpt.pruned import lots, publish
from tests.slimgpt.tiny import FAMILIES, Tiny, tokens

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    """One model for all."""
    return Tiny("qwen3", biases=True, head_dim=16)


@pytest.fixture(scope="module")
def folder(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pruned checkpoint; read only."""
    home = tmp_path_factory.mktemp("verify")
    dense = Checkpoint.open(tiny.save(home / "dense"))
    return publish(dense, lots(dense.architecture), home / "pruned")


@pytest.mark.usefixtures("cold_start")
def test_a_fresh_process_gives_the_logits_of_the_model_in_memory(tiny: Tiny, folder: Path) -> None:
    ids = tokens(tiny)
    expected = Stack(Checkpoint.open(folder), CPU).logits(ids)
    verified = verify(folder, ids, expected, CPU)
    assert verified.max_difference == 0.0
    assert verified.tokens == ids.numel()
    assert verified.loader.startswith("transformers ")


def test_the_process_may_start_before_there_is_a_folder(
    tiny: Tiny, folder: Path, tmp_path: Path
) -> None:
    ids = tokens(tiny)
    expected = Stack(Checkpoint.open(folder), CPU).logits(ids)
    with Loading(tmp_path / "later", CPU, "exact") as process:
        shutil.copytree(folder, tmp_path / "later")
        assert prove(process, ids, expected).max_difference == 0.0


def test_a_difference_is_refused(tiny: Tiny, folder: Path) -> None:
    ids = tokens(tiny)
    expected = Stack(Checkpoint.open(folder), CPU).logits(ids)
    expected[1, 2, 3] += 1e-6
    with pytest.raises(VerificationError, match="differs from the model in memory"):
        verify(folder, ids, expected, CPU)


def test_a_folder_that_does_not_load_shows_why(tiny: Tiny, folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (broken / file.name).symlink_to(file)
    with pytest.raises(VerificationError, match=r"no file named model\.safetensors"):
        verify(broken, tokens(tiny), torch.zeros(1), CPU)


def test_sixteen_bits_may_differ_in_the_last_places_only() -> None:
    logits = torch.tensor([[[-8.0, 2.0]]])
    assert bound(logits)[0] == 0.0
    assert bound(logits.bfloat16())[0] == 4 * 2**-7 * 8
    assert bound(logits.half())[0] == 4 * 2**-10 * 8


def test_every_family_loads_in_a_fresh_process(tmp_path: Path) -> None:
    """All in one process: most of its time goes into starting."""
    transformers.logging.disable_progress_bar()
    folders = publish_all(tmp_path, {family: Tiny(family, biases=True) for family in FAMILIES})
    _, differences = reload_all(folders, Path(sys.executable), tmp_path)
    assert len(differences) == 2 * len(FAMILIES)
    assert set(differences.values()) == {0.0}
