"""Models made to run code, to read what is not theirs, or to take all memory."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from slimgpt.checkpoints import tokenizer_checks
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.location import Location
from slimgpt.errors import BrokenCheckpointError, ModelNotFoundError, SlimGPTError
from slimgpt.events import Result
from slimgpt.pipeline import run
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec
from tests.slimgpt.test_pipeline import SETTINGS, TEXT
from tests.slimgpt.tiny import Tiny

WEIGHTS = "model.safetensors"
TENSOR = "model.layers.0.self_attn.q_proj.weight"
MODULES = ("modeling_evil", "configuration_evil", "tokenization_evil", "__init__", "json", "torch")


def edit(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def armed(folder: Path, canary: Path) -> Path:
    """A model that names code wherever code can be named; what runs leaves the canary."""
    Tiny(tokenizer=True).save(folder)
    for module in MODULES:
        (folder / f"{module}.py").write_text(f"open({str(canary)!r}, 'w')\nclass Evil: ...\n")
    mine, foreign = "modeling_evil.Evil", "evil/repository--modeling_evil.Evil"
    auto = {f"Auto{kind}": mine for kind in ("Config", "Model", "ModelForCausalLM")}
    edit(
        folder / "config.json",
        auto_map=auto | {"AutoTokenizer": [foreign, foreign]},
        attn_implementation="evil/kernels:attention",
        _attn_implementation="evil/kernels",
        custom_pipelines={"text-generation": {"impl": mine}},
        trust_remote_code=True,
    )
    edit(
        folder / "tokenizer_config.json",
        auto_map={"AutoTokenizer": ["tokenization_evil.Evil", foreign]},
        chat_template="{{ ''.__class__.__mro__[1].__subclasses__() }}",
        tokenizer_file="/etc/passwd",
        trust_remote_code=True,
    )
    return folder


def test_code_of_a_model_runs_nowhere_and_is_not_passed_on(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    armed(tmp_path / "models" / "model", canary)
    (tmp_path / "text.txt").write_text(TEXT)
    roots = Roots(models=tmp_path / "models", texts=tmp_path)
    job = PruneSpec.model_validate(SETTINGS)
    events = list(run(job, tmp_path / "work", roots, "cpu"))
    assert isinstance(events[-1], Result), events[-1]
    published = tmp_path / "work" / "checkpoint"
    assert [file.name for file in published.glob("**/*.py")] == ["modeling_slimgpt.py"]
    config = json.loads((published / "config.json").read_text())
    assert all(name.startswith("modeling_slimgpt.") for name in config["auto_map"].values())
    assert not {"attn_implementation", "_attn_implementation"} & set(config)
    assert "auto_map" not in json.loads((published / "tokenizer_config.json").read_text())
    assert AutoTokenizer.from_pretrained(published, trust_remote_code=True)("ab").input_ids
    assert not canary.exists()


class Bomb:
    """A pickle that leaves the canary when it is read."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.canary), "w")


@pytest.mark.parametrize("name", [WEIGHTS, "pytorch_model.bin", "model.pt"])
def test_a_pickle_is_never_read_whatever_its_name(name: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    folder = Tiny().save(tmp_path / "model")
    (folder / WEIGHTS).unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb(canary)))
    with pytest.raises(SlimGPTError):
        Checkpoint.open(folder)
    assert not canary.exists()


def header(text: bytes, length: int | None = None) -> bytes:
    """The start of a safetensors file whose header claims a length."""
    return (len(text) if length is None else length).to_bytes(8, "little") + text


def entry(**values: Any) -> bytes:
    stated = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | values
    return header(json.dumps({TENSOR: stated}).encode()) + b"\0" * 8


def overlapping() -> bytes:
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    two = {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}
    return header(json.dumps({TENSOR: one, "lm_head.weight": two}).encode()) + b"\0" * 8


HEADERS: dict[str, bytes] = {
    "2^60 bytes long": header(b"{}", 1 << 60),
    "2^64 bytes long": header(b"{}", (1 << 64) - 1),
    "longer than any": header(b"{}", 100_000_001) + b"\0" * 100_000_001,
    "nested": header(b'{"a":' * 100_000),
    "a list": header(b"[" * 100_000 + b"]" * 100_000),
    "a number without end": header(b'{"a": ' + b"9" * 100_000 + b"}"),
    "overlapping": overlapping(),
    "a hole": entry(data_offsets=[4, 8]),
    "beyond the file": entry(shape=[1 << 58], data_offsets=[0, 1 << 60]),
    "backwards": entry(shape=[-1], data_offsets=[4, 0]),
    "a product that wraps around": entry(shape=[1 << 32, 1 << 32, 0]),
    "a million dimensions": entry(shape=[1 << 60] * 1_000_000),
    "a float": entry(shape=[1e308]),
    "UTF-16": header('{"a": 1}'.encode("utf-16")),
}


@pytest.mark.parametrize("how", HEADERS)
def test_a_header_that_lies_is_refused(how: str, tmp_path: Path) -> None:
    folder = Tiny(layers=1).save(tmp_path / "model")
    (folder / WEIGHTS).write_bytes(HEADERS[how])
    with pytest.raises(BrokenCheckpointError):
        Checkpoint.open(folder)


def config(**values: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "config.json", **values)


CONFIGS: dict[str, Callable[[Path], Any]] = {
    "layers": config(num_hidden_layers=10**9),
    "vocabulary": config(vocab_size=10**18),
    "width": config(hidden_size=10**18, intermediate_size=10**18),
    "heads": config(num_attention_heads=10**12, num_key_value_heads=10**12),
    "nested": lambda folder: (folder / "config.json").write_text('{"a":' * 100_000),
    "digits": lambda folder: (folder / "config.json").write_text('{"a": ' + "9" * 10**6 + "}"),
    "long": lambda folder: os.truncate(folder / "config.json", 1 << 40),
}


@pytest.mark.parametrize("how", CONFIGS)
def test_a_config_that_asks_for_everything_is_refused(how: str, tmp_path: Path) -> None:
    folder = Tiny(layers=1).save(tmp_path / "model")
    CONFIGS[how](folder)
    with pytest.raises(SlimGPTError):
        Checkpoint.open(folder)


def replaced(name: str, target: str) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return replace


def piped(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    os.mkfifo(folder / "tokenizer.json")


def template(folder: Path) -> None:
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool.jinja").symlink_to("../../../secret")


TOKENIZERS: dict[str, tuple[Callable[[Path], Any], type[SlimGPTError], str]] = {
    "long": (
        lambda folder: os.truncate(folder / "tokenizer.json", 1 << 40),
        BrokenCheckpointError,
        "tokenizer.json is larger than 256 MiB",
    ),
    "endless": (
        replaced("tokenizer.json", "/dev/zero"),
        ModelNotFoundError,
        "tokenizer.json is a link that leads out",
    ),
    "a pipe": (piped, BrokenCheckpointError, "tokenizer.json is not a regular file"),
    "a link out": (
        replaced("vocab.txt", "../../secret"),
        ModelNotFoundError,
        "vocab.txt is a link that leads out",
    ),
    "a folder that leads out": (
        replaced("additional_chat_templates", "../../elsewhere"),
        ModelNotFoundError,
        "leads out of the folder",
    ),
    "a template that leads out": (
        template,
        ModelNotFoundError,
        "tool.jinja is a link that leads out",
    ),
}


@pytest.mark.parametrize("how", TOKENIZERS)
def test_a_tokenizer_that_leads_elsewhere_or_has_no_end_is_not_read(
    how: str, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("a secret")
    (tmp_path / "elsewhere").mkdir()
    models = tmp_path / "models"
    folder = Tiny(layers=1, tokenizer=True).save(models / "model")
    attack, error, words = TOKENIZERS[how]
    attack(folder)
    with pytest.raises(error, match=words):
        tokenizer_checks.check(Location.of(folder, models))
    roots = Roots(models=models, texts=tmp_path)
    with pytest.raises(error, match=words):
        list(run(PruneSpec.model_validate(SETTINGS), tmp_path / "work", roots, "cpu"))
