"""What `provenance.json` says, and that a second pruning remembers the first."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import safetensors

import slimgpt
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.output import provenance
from slimgpt.checkpoints.output.provenance import Origin
from slimgpt.spec.prune import PruneSpec
from tests.slimgpt.tiny import Tiny

SPEC = PruneSpec.model_validate(
    {"model": "org/name@main", "ratio": 0.25, "calibration": {"seed": 7}}
)
ORIGIN = Origin("org/name", "c0ffee", "apache-2.0", "5eed", datetime(2026, 11, 22, tzinfo=UTC))
LAYERS = [{"layer": 0, "kept_heads": [0, 2], "kept_channels": [1], "attention_error": 0.125}]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A tiny base model."""
    return Checkpoint.open(Tiny(dtype="bfloat16").save(tmp_path_factory.mktemp("base") / "model"))


def test_it_says_what_is_needed_to_make_the_weights_again(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    provenance.write(tmp_path, provenance.build(checkpoint, ORIGIN, SPEC, LAYERS))
    content = json.loads((tmp_path / "provenance.json").read_text())
    assert content["base_model"] == {
        "model": "org/name",
        "revision": "c0ffee",
        "licence": "apache-2.0",
        "parameters": checkpoint.parameters,
        "dtype": "bfloat16",
        "model_type": "llama",
    }
    assert PruneSpec.model_validate(content["spec"]) == SPEC
    assert (content["seed"], content["calibration_sha256"]) == (7, "5eed")
    assert content["engine"]["version"] == slimgpt.__version__
    assert content["libraries"]["safetensors"] == safetensors.__version__
    assert content["layers"] == LAYERS
    assert content["started"] == "2026-11-22T00:00:00+00:00"
    assert datetime.fromisoformat(content["finished"]) > ORIGIN.started


def test_no_path_of_the_machine_is_told(checkpoint: Checkpoint) -> None:
    content = provenance.build(checkpoint, ORIGIN, SPEC, LAYERS)
    assert str(checkpoint.folder) not in json.dumps(content)


def test_the_base_models_own_provenance_is_kept(tmp_path: Path) -> None:
    folder = Tiny().save(tmp_path / "model")
    base = Checkpoint.open(folder)
    first = provenance.build(base, ORIGIN, SPEC, LAYERS)
    provenance.write(folder, first)
    second = provenance.build(base, ORIGIN, SPEC, LAYERS)
    assert second["base_model_provenance"] == first


def test_somebody_elses_file_of_that_name_is_not_taken_for_one(tmp_path: Path) -> None:
    folder = Tiny().save(tmp_path / "model")
    for text in ("{", "[]", '{"layers": 3}'):
        (folder / "provenance.json").write_text(text)
        content = provenance.build(Checkpoint.open(folder), ORIGIN, SPEC, LAYERS)
        assert "base_model_provenance" not in content


def test_a_number_that_json_does_not_know_is_refused(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    layers = [{"attention_error": float("nan")}]
    with pytest.raises(ValueError, match="not JSON compliant"):
        provenance.write(tmp_path, provenance.build(checkpoint, ORIGIN, SPEC, layers))
    assert list(tmp_path.iterdir()) == []
