"""A job whose sequences its model has no positions for is refused where it is posted."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.checks import positions
from api.checks.positions import too_long
from jobs.settings import Settings
from slimgpt.spec.prune import PruneSpec
from tests import sparse_model
from tests.api.conftest import CONFIG as PLANNABLE

CONFIG = {"max_position_embeddings": 512}


def refused(root: Path, **fields: Any) -> list[str]:
    spec = PruneSpec.model_validate({"model": "local:tiny", "ratio": 0.2, **fields})
    return [fault.pointer for fault in too_long(spec, root)]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The config of `local:tiny`, below the test's own folder as the models root."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    path = folder / "config.json"
    path.write_text(json.dumps(CONFIG))
    return path


FITS = {"calibration": {"sequence_length": 512}}


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        (FITS, []),
        ({}, ["/calibration/sequence_length"]),  # the default of 2048
        ({**FITS, "recovery": {"sequence_length": 513}}, ["/recovery/sequence_length"]),
        (
            {**FITS, "evaluation": {"texts": ["c4"], "sequence_lengths": [64, 1024]}},
            ["/evaluation/sequence_lengths/1"],
        ),
        # Held-out windows are cut to what calibration left, with a warning.
        ({**FITS, "evaluation": {"texts": ["held-out"], "sequence_lengths": [1024]}}, []),
        ({**FITS, "evaluation": {"texts": [], "sequence_lengths": [1024]}}, []),
        (
            {**FITS, "evaluation": {"inference": {"prompt_tokens": 500, "new_tokens": 64}}},
            ["/evaluation/inference"],
        ),
        ({"model": "org/name"}, []),
        ({"model": "local:none"}, []),
    ],
)
def test_every_length_is_held_against_the_positions(
    config: Path, fields: dict[str, Any], pointers: list[str]
) -> None:
    assert refused(config.parent.parent, **fields) == pointers


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b"{}",
        b'{"max_position_embeddings": null}',
        b'{"max_position_embeddings": true}',
        b'{"max_position_embeddings": "512"}',
        b'{"max_position_embeddings": -1}',
        b'{"max_position_embeddings": 512' + b" " * positions.MAX_CONFIG_BYTES + b"}",
    ],
)
def test_a_config_that_says_nothing_is_the_engines_to_judge(config: Path, content: bytes) -> None:
    config.write_bytes(content)
    assert refused(config.parent.parent) == []


def test_a_config_outside_the_root_is_not_read(config: Path, tmp_path: Path) -> None:
    outside = tmp_path / "config.json"
    config.rename(outside)
    root = tmp_path / "models"
    (root / "tiny").mkdir(parents=True)
    (root / "tiny" / "config.json").symlink_to(outside)
    assert refused(root) == []


def test_what_is_no_file_is_not_waited_for(config: Path) -> None:
    config.unlink()
    os.mkfifo(config)
    assert refused(config.parent.parent) == []


def test_the_answer_names_the_field_and_the_positions(
    api: httpx.Client, settings: Settings
) -> None:
    sparse_model.write(settings.models_root / "tiny", PLANNABLE | CONFIG)
    body = {"model": "local:tiny", "ratio": 0.25}
    answer = api.post("/jobs", json=body)
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert fault["pointer"] == "/calibration/sequence_length"
    assert "2,048 tokens are more than the model's 512 positions" in fault["message"]
    assert api.get("/jobs").json()["items"] == []
    taken = api.post("/jobs", json=body | FITS)
    assert taken.status_code == 202, taken.text
