"""The whole script, on a handful of the running interpreter's own modules."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from examples.train.__main__ import train

MODULES = ("inspect", "heapq", "queue", "shlex", "cmd", "codeop", "bz2", "netrc")  # of all parts


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("library")
    for name in MODULES:
        shutil.copy(Path(sysconfig.get_path("stdlib")) / f"{name}.py", root)
    out = root / "made"
    train(out=out, steps=2, seed=0, library=root)
    return out


def test_the_folder_is_complete(made: Path) -> None:
    assert {path.name for path in made.iterdir()} == {
        "LICENSE",
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "texts",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert "2 steps of 4096 tokens" in (made / "README.md").read_text()


def test_transformers_loads_and_generates(made: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(made)
    model = AutoModelForCausalLM.from_pretrained(made)
    ids = tokenizer("Return the", return_tensors="pt")["input_ids"]
    assert ids[0, 0] == model.config.bos_token_id == tokenizer.bos_token_id
    out = model.generate(ids, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    assert out.shape == (1, ids.shape[1] + 4)
