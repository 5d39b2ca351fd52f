"""A folder with a config alone is planned as the whole folder is, and never pruned."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from slimgpt.checkpoints import config_only
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.location import Location
from slimgpt.errors import BrokenCheckpointError, ModelNotFoundError, UnsupportedModelError
from slimgpt.planning.preview import plan_preview
from slimgpt.sources.resolve import resolve_model
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import CalibrationSpec, PruneSpec
from tests.hub import cached
from tests.slimgpt.tiny import FAMILIES, Tiny

SPEC = PruneSpec.model_validate(
    {"model": "local:model", "ratio": 0.25, "calibration": {"sequence_length": 32}}
)


def without_weights(folder: Path) -> Path:
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_a_config_alone_says_what_the_files_hold(family: str, tmp_path: Path) -> None:
    folder = Tiny(family, channels=256, dtype="bfloat16").save(tmp_path / "model")
    whole, plan = Checkpoint.open(folder), plan_preview(SPEC, Roots(tmp_path, tmp_path))
    read = config_only.of(Location.of(without_weights(folder)))
    assert read.architecture == whole.architecture
    assert {name: (info.shape, info.dtype) for name, info in read.tensors.items()} == {
        name: (info.shape, info.dtype) for name, info in whole.tensors.items()
    }
    again = plan_preview(SPEC, Roots(tmp_path, tmp_path))
    assert again.without_weights == ["local:model"]
    [warning] = again.warnings
    assert warning.startswith("local:model has no weights")
    assert again.model_copy(update={"warnings": [], "without_weights": []}) == plan


def test_a_run_says_that_there_are_no_weights(tmp_path: Path) -> None:
    from slimgpt.pipeline import run

    without_weights(Tiny().save(tmp_path / "model"))
    (tmp_path / "text.txt").write_text("text")
    roots = Roots(tmp_path, tmp_path)
    with pytest.raises(UnsupportedModelError, match="it has no weights"):
        resolve_model("local:model", roots)
    text = CalibrationSpec(source="local:text.txt")
    spec = SPEC.model_copy(update={"calibration": text})
    with pytest.raises(UnsupportedModelError, match="it has no weights"):
        list(run(spec, tmp_path / "work", roots, "cpu"))


@pytest.mark.parametrize(
    "name", ["model.safetensors.index.json", "model-00001-of-2.safetensors", "pytorch_model.bin"]
)
def test_half_a_download_is_no_config_alone(name: str, tmp_path: Path) -> None:
    folder = without_weights(Tiny().save(tmp_path / "model"))
    (folder / name).write_text("{}")
    assert not config_only.alone(Location.of(folder))
    with pytest.raises((UnsupportedModelError, BrokenCheckpointError)):
        plan_preview(SPEC, Roots(tmp_path, tmp_path))


def test_a_precision_that_is_not_pruned_is_refused(tmp_path: Path) -> None:
    folder = without_weights(Tiny().save(tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "float8_e4m3fn"}))
    with pytest.raises(UnsupportedModelError, match="float8_e4m3fn"):
        plan_preview(SPEC, Roots(tmp_path, tmp_path))


def test_a_config_does_not_lead_out_of_the_root(tmp_path: Path) -> None:
    outside = without_weights(Tiny().save(tmp_path / "outside"))
    (tmp_path / "models/model").mkdir(parents=True)
    (tmp_path / "models/model/config.json").symlink_to(outside / "config.json")
    roots = Roots(tmp_path / "models", tmp_path)
    with pytest.raises(ModelNotFoundError, match="leads out"):
        plan_preview(SPEC, roots)
    assert plan_preview(SPEC, replace(roots, confined=False)).parameters_before


def test_a_hub_model_is_planned_from_its_config_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is enough for the API, whose machine has no weights."""
    folder = Tiny().save(tmp_path / "model")
    plan = plan_preview(SPEC, Roots(tmp_path, tmp_path))
    cached(without_weights(folder), tmp_path / "cache", "tiny/cached")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    there = SPEC.model_copy(update={"model": "tiny/cached"})
    assert plan_preview(there, Roots(tmp_path, tmp_path)) == plan
