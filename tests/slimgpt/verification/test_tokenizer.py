"""The result's tokenizer is the model's own, or the job says what differs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.output import folder as published
from slimgpt.errors import UnsupportedModelError, VerificationError
from slimgpt.verification.tokenizer import prove
from tests.slimgpt.tiny import Tiny

TOOL_USE = "{% for m in messages %}TOOL {{ m.content }}{% endfor %}{{ bos_token }}"
EXTRA = {
    "chat_template.jinja": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
    "additional_chat_templates/tool_use.jinja": TOOL_USE,
    "additional_chat_templates/rag.jinja": "{{ messages[0].content }}{{ eos_token }}",
    "vocab.txt": "[UNK]\na\n",
    "some.tiktoken": "YQ== 0\n",
    "tokenizer.model.v3": "mistral's",
    "processor_config.json": '{"processor_class": "P", "auto_map": {"AutoProcessor": "evil.P"}}',
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = Tiny(tokenizer=True).save(tmp_path / "model")
    (folder / "additional_chat_templates").mkdir()
    for name, content in EXTRA.items():
        (folder / name).write_text(content)
    return folder


@pytest.fixture
def written(model: Path, tmp_path: Path) -> Path:
    checkpoint = Checkpoint.open(model)
    (tmp_path / "written").mkdir()
    published.write(checkpoint, checkpoint.architecture.sizes, tmp_path / "written")
    return tmp_path / "written"


def test_everything_that_a_tokenizer_reads_comes_along(model: Path, written: Path) -> None:
    for name in EXTRA:
        assert (written / name).exists(), name
    assert json.loads((written / "processor_config.json").read_text()) == {"processor_class": "P"}
    ours, theirs = (AutoTokenizer.from_pretrained(folder) for folder in (model, written))
    chat = [{"role": "user", "content": "hello"}]
    for name in ("default", "tool_use", "rag"):
        rendered = theirs.apply_chat_template(chat, chat_template=name, tokenize=False)
        assert rendered == ours.apply_chat_template(chat, chat_template=name, tokenize=False)
        assert "hello" in rendered
    prove(model, [written])


def test_what_was_left_behind_is_named(model: Path, written: Path, tmp_path: Path) -> None:
    def refused(words: str) -> None:
        with pytest.raises(VerificationError, match=words):
            prove(model, [written])

    (written / "additional_chat_templates/rag.jinja").write_text("{{ messages[0].content }}")
    refused("tokenizer in the text of chat template 'rag'")
    shutil.rmtree(written / "additional_chat_templates")
    refused("tokenizer in the names of chat templates")
    shutil.copytree(model / "additional_chat_templates", written / "additional_chat_templates")
    settings = json.loads((written / "tokenizer_config.json").read_text())
    (written / "tokenizer_config.json").write_text(json.dumps(settings | {"bos_token": "</s>"}))
    refused("tokenizer in special tokens")
    (written / "tokenizer.json").unlink()
    refused("cannot be loaded")
    (model / "tokenizer.json").unlink()
    with pytest.raises(UnsupportedModelError):
        prove(model, [written])


def test_a_template_that_tells_the_time_is_the_same(tmp_path: Path) -> None:
    """Rendered a moment later it says something else; asked again, the two agree at some time."""
    model = Tiny(tokenizer=True).save(tmp_path / "model")
    (model / "chat_template.jinja").write_text("{{ strftime_now('%Y-%m-%d') }}")
    prove(model, [model])
