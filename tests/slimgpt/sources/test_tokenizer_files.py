"""The table of files that tokenizers and processors read, held to the installed transformers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import transformers
from transformers import tokenization_utils_base, utils

from slimgpt.sources import tokenizer_files
from slimgpt.sources.resolve import needed

PACKAGE = Path(transformers.__file__).parent
NAMED = (
    *("tokenizer.model.v3", "tokenizer.model.v11", "qwen.tiktoken", "tiktoken.model", "vocab.txt"),
    *("tekken.json", "tekken_240911.json", "tokenizer.4.30.0.json", "chat_template.jinja"),
    "additional_chat_templates/tool_use.jinja",
)
OTHERS = (
    *("config.json", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"),
    *("README.md", "modeling_x.py", "params.json", "adapter_config.json", "trainer_state.json"),
    *("report.json", "provenance.json", "original/tokenizer.model", "train.txt"),
    *("additional_chat_templates/x.py", "additional_chat_templates/a/b.jinja"),
)


def of_tokenizers() -> Iterator[str]:
    """What the classes in transformers say of their files, read off their sources."""
    for source in sorted(PACKAGE.glob("models/*/tokenization_*.py")):
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Dict):
                continue
            if getattr(node.targets[0], "id", "").lower() == "vocab_files_names":
                for value in node.value.values:
                    if isinstance(value, ast.Constant):
                        yield str(value.value)


def of_all() -> Iterator[str]:
    """What transformers looks for beside those, whatever the class."""
    for module in (utils, tokenization_utils_base):
        for name, value in vars(module).items():
            if name.endswith(("_FILE", "_NAME")) and isinstance(value, str) and "." in value:
                yield value


def test_whatever_a_tokenizer_or_a_processor_reads_is_in_the_table() -> None:
    found = {*of_tokenizers(), *of_all()}
    assert {"vocab.txt", "spiece.model", "processor_config.json"} <= found
    left_out = {name for name in found if not tokenizer_files.is_one(name)}
    weights = {name for name in left_out if name.startswith(("pytorch_model", "model.safetens"))}
    assert left_out - weights <= {"config.json", "modelcard.json", "adapter_config.json"} | {
        name for name in left_out if name.startswith(("adapter_model", "tf_", "flax_"))
    }


@pytest.mark.parametrize("name", NAMED)
def test_what_users_have_is_taken_from_the_hub(name: str) -> None:
    assert tokenizer_files.is_one(name)
    assert name in needed([name, "model.safetensors", "config.json"], "o/n")


@pytest.mark.parametrize("name", OTHERS)
def test_nothing_else_is(name: str) -> None:
    assert not tokenizer_files.is_one(name)
