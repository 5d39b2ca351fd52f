"""A pruned folder's tokenizer is read without transformers' warning about layers."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import transformers

from slimgpt.texts.tokenization.tokenizer import (
    WARNING,
    WARNING_SOURCE,
    Tokenizer,
    no_layers_are_built,
)

MODEL = Path(__file__).resolve().parents[4] / "examples" / "model"


@pytest.fixture
def pruned(tmp_path: Path) -> Path:
    """The tokenizer and the config of a pruned folder."""
    for file in MODEL.glob("token*.json"):
        shutil.copy(file, tmp_path)
    config = json.loads((MODEL / "config.json").read_text())
    sizes = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96}
    layers = {str(index): sizes for index in range(config["num_hidden_layers"])}
    config |= {"per_layer_config": layers, "allow_global_per_layer_attribute_access": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What transformers warned of since the test began, whatever others have silenced before."""
    words: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: words.append(record.getMessage())  # type: ignore[method-assign]
    transformers.utils.logging.warning_once.cache_clear()
    monkeypatch.setattr(WARNING_SOURCE, "disabled", False)
    monkeypatch.setattr(WARNING_SOURCE, "propagate", False)
    monkeypatch.setattr(WARNING_SOURCE.manager, "disable", logging.NOTSET)
    WARNING_SOURCE.setLevel(logging.WARNING)
    WARNING_SOURCE.addHandler(handler)
    yield words
    WARNING_SOURCE.removeHandler(handler)
    WARNING_SOURCE.setLevel(logging.NOTSET)


def test_reading_the_tokenizer_of_a_pruned_folder_says_nothing(
    pruned: Path, said: list[str]
) -> None:
    assert Tokenizer.load(pruned).encode("def f(x):")
    assert said == []


def test_whoever_builds_a_model_is_still_warned(pruned: Path, said: list[str]) -> None:
    with no_layers_are_built():
        WARNING_SOURCE.warning("another warning")
    assert said == ["another warning"]
    transformers.AutoConfig.from_pretrained(pruned)
    assert [line.startswith(WARNING) for line in said[1:]] == [True] * 3
