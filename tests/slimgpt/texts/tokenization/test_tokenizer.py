"""Tokenizers of real and of broken model folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from slimgpt.errors import BrokenCheckpointError, UnsupportedModelError
from slimgpt.texts.tokenization.tokenizer import Tokenizer


@pytest.fixture
def folder(shared: Path, tmp_path: Path) -> Path:
    """A copy of a real model's folder, without its weights."""
    copy = tmp_path / "model"
    shutil.copytree(
        shared / "models/stories260K", copy, ignore=shutil.ignore_patterns("*.safetensors")
    )
    for path in copy.iterdir():
        path.chmod(0o644)
    copy.chmod(0o755)
    return copy


def change(path: Path, **fields: object) -> None:
    """Set fields of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_ids_are_those_of_the_tokenizer_file(folder: Path) -> None:
    from tokenizers import Tokenizer as Reference

    text = "Once upon a time, there was a little girl named Lily. " * 50
    tokenizer = Tokenizer.load(folder)
    reference = Reference.from_file(str(folder / "tokenizer.json"))
    ids = tokenizer.encode(text)
    assert ids == reference.encode(text).ids
    assert len(ids) > 512  # longer than the model: no warning, no cut
    assert ids[0] == 1
    assert tokenizer.decode(ids).strip() == text.strip()
    assert (tokenizer.max_positions, tokenizer.vocabulary) == (512, 512)


def test_a_tokenizer_of_another_model_is_found_out(folder: Path) -> None:
    change(folder / "config.json", vocab_size=300)
    with pytest.raises(BrokenCheckpointError, match="but the embedding has 300 rows"):
        Tokenizer.load(folder).encode("Once upon a time")


def test_code_in_the_folder_never_runs(folder: Path, tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(witness)!r}, 'w')\nclass Evil: pass\n")
    change(
        folder / "tokenizer_config.json",
        tokenizer_class="Evil",
        auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]},
    )
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").unlink()
    with pytest.raises(UnsupportedModelError, match="tokenizer cannot be loaded") as e:
        Tokenizer.load(folder)
    assert not witness.exists()
    assert str(folder) not in str(e.value)


def test_a_folder_without_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(UnsupportedModelError, match=r"must contain a tokenizer\.json") as e:
        Tokenizer.load(folder)
    assert str(folder) not in str(e.value)


def test_a_damaged_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(UnsupportedModelError, match=r"tokenizer\.json is damaged"):
        Tokenizer.load(folder)


@pytest.mark.parametrize("content", [None, "{", "\udcff"])
def test_a_damaged_config(folder: Path, content: str | None) -> None:
    config = folder / "config.json"
    config.unlink()
    if content is not None:
        config.write_text(content, errors="surrogateescape")
    with pytest.raises(BrokenCheckpointError, match=r"config\.json cannot be read"):
        Tokenizer.load(folder)
