"""A hub of this machine's own, with repositories shaped like the real ones."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from slimgpt.sources.roots import Roots
from tests.hub import Hub, serve
from tests.slimgpt.tiny import Tiny

WIKITEXT = "datasets/Salesforce/wikitext"
WIKITEXT_CARD = """---
license: cc-by-sa-3.0
configs:
- config_name: wikitext-103-raw-v1
  data_files:
  - split: train
    path: wikitext-103-raw-v1/train-*
- config_name: wikitext-2-raw-v1
  data_files:
  - split: test
    path: wikitext-2-raw-v1/test-*
  - split: train
    path: wikitext-2-raw-v1/train-*
---
"""


@pytest.fixture(scope="session")
def repositories(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """Folders of models and data sets: real texts in the layout of the hub's own repositories."""
    root = tmp_path_factory.mktemp("hub")
    _c4(root / "datasets/allenai/c4", shared / "data/c4/c4-en-1300.jsonl")
    _alpaca(root, shared / "data/alpaca/alpaca_data_1k.json")
    _wikitext(root / WIKITEXT, shared / "data/wikitext2")
    model = root / "models/tiny/stories"
    shutil.copytree(shared / "models/stories260K", model)
    (model / "pytorch_model.bin").write_bytes(b"pickled")
    (model / "modeling_stories.py").write_text("raise SystemExit('code of a model ran')\n")
    (model / "original").mkdir()
    (model / "original/consolidated.safetensors").write_bytes(b"again")
    (model / "README.md").write_text("---\nlicense: mit\n---\n# Stories\n")
    spoken = root / "models/tiny/templates"
    Tiny(layers=1, tokenizer=True).save(spoken)
    (spoken / "additional_chat_templates").mkdir()
    (spoken / "additional_chat_templates/tool_use.jinja").write_text("{{ messages[0].content }}")
    (spoken / "tokenizer.model.v3").write_text("mistral's")
    pickled = root / "models/tiny/pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text("{}")
    (pickled / "pytorch_model.bin").write_bytes(b"pickled")
    return root


def _c4(folder: Path, source: Path) -> None:
    lines = source.read_bytes().splitlines(keepends=True)
    (folder / "en").mkdir(parents=True)
    names = [("train.00000-of-01024", lines[:1000]), ("train.00001-of-01024", lines[:1])]
    for name, part in [*names, ("validation.00000-of-00008", lines)]:
        path = folder / f"en/c4-{name}.json.gz"
        path.write_bytes(gzip.compress(b"".join(part), mtime=0))


def _alpaca(root: Path, source: Path) -> None:
    import datasets

    from slimgpt.texts.rows import text_of

    rows = json.loads(source.read_text())
    with_text = [{**row, "text": text_of(row, None)} for row in rows]
    for name, content in (("tatsu-lab/alpaca", with_text), ("vicgalle/alpaca-gpt4", rows)):
        folder = root / "datasets" / name / "data"
        folder.mkdir(parents=True)
        data = datasets.Dataset.from_list(content)
        data.to_parquet(folder / "train-00000-of-00001-a09b74b3ef9c3b56.parquet")


def _wikitext(folder: Path, source: Path) -> None:
    """As the hub has it: a row is a line with its newline, or nothing for an empty line."""
    import datasets

    for config, split, file in (
        ("wikitext-2-raw-v1", "test", "wiki.test.raw"),
        ("wikitext-2-raw-v1", "train", "wiki.valid.raw"),
        ("wikitext-103-raw-v1", "train", "wiki.valid.raw"),
    ):
        lines = (source / file).read_text("utf-8").splitlines(keepends=True)
        rows = [{"text": line if line.strip() else ""} for line in lines]
        (folder / config).mkdir(parents=True, exist_ok=True)
        data = datasets.Dataset.from_list(rows)
        data.to_parquet(folder / config / f"{split}-00000-of-00001.parquet")
    (folder / "README.md").write_text(WIKITEXT_CARD)


@pytest.fixture(scope="session")
def _hub_of_session(repositories: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """The clients read HF_ENDPOINT when they are imported: here their constants are replaced."""
    import datasets
    from huggingface_hub import constants

    cache = tmp_path_factory.mktemp("cache")
    with serve(repositories) as hub, pytest.MonkeyPatch.context() as patch:
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "ENDPOINT", hub.url)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(datasets.config, "HF_ENDPOINT", hub.url)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", cache / "datasets")
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        patch.setattr(datasets.config, "HF_DATASETS_OFFLINE", False)
        yield hub


@pytest.fixture
def hub(_hub_of_session: Hub) -> Iterator[Hub]:
    """The running hub, in good order again after the test."""
    _hub_of_session.asked.clear()
    yield _hub_of_session
    _hub_of_session.gated.clear()
    _hub_of_session.private.clear()
    _hub_of_session.sizes.clear()
    _hub_of_session.down = False


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    """Empty folders for models and texts."""
    for name in ("models", "texts"):
        (tmp_path / name).mkdir()
    return Roots(models=tmp_path / "models", texts=tmp_path / "texts")
