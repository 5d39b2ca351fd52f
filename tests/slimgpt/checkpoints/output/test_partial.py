"""A checkpoint in the making survives crashes, full disks and strangers."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.output import fingerprint
from slimgpt.checkpoints.output.partial import PartialCheckpoint
from slimgpt.errors import ResumeError, StorageError
from slimgpt.spec.prune import PruneSpec
from tests.slimgpt.tiny import Tiny

LAYERS = 4


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """What is written in these tests is the dense model itself; read only."""
    return Checkpoint.open(Tiny(layers=LAYERS).save(tmp_path_factory.mktemp("dense") / "model"))


@pytest.fixture
def partial(checkpoint: Checkpoint, tmp_path: Path) -> PartialCheckpoint:
    """A working folder with all but the last layer."""
    made = PartialCheckpoint(tmp_path / "work", "job-1", checkpoint.architecture)
    for index in range(LAYERS - 1):
        made.write_layer(index, checkpoint.layer(index), {"layer": index})
    return made


def finish(partial: PartialCheckpoint, checkpoint: Checkpoint) -> None:
    """Write what is left."""
    partial.write_layer(LAYERS - 1, checkpoint.layer(LAYERS - 1), {"layer": LAYERS - 1})


def records(count: int) -> list[dict[str, int]]:
    """Of the first layers."""
    return [{"layer": index} for index in range(count)]


def test_what_is_written_is_read_back_bit_for_bit(
    partial: PartialCheckpoint, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    finish(partial, checkpoint)
    for index in range(LAYERS):
        written = partial.layer(index)
        assert written.keys() == checkpoint.layer(index).keys()
        assert all(torch.equal(written[k], v) for k, v in checkpoint.layer(index).items())
    tensors = partial.tensors(checkpoint)
    assert tensors.keys() == checkpoint.tensors.keys()
    assert sum(info.bytes for info in tensors.values()) == checkpoint.bytes
    partial.discard()
    assert not partial.folder.exists()


def test_weights_may_be_read_by_whom_other_files_may(partial: PartialCheckpoint) -> None:
    modes = {path.stat().st_mode for path in partial.folder.iterdir()}
    assert len(modes) == 1


def test_two_runs_write_the_same_bytes(
    partial: PartialCheckpoint, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    again = PartialCheckpoint(tmp_path / "again", "job-1", checkpoint.architecture)
    again.write_layer(0, checkpoint.layer(0), {"layer": 0})
    for name in ("layer-00000.safetensors", "layer-00000.json"):
        assert (again.folder / name).read_bytes() == (partial.folder / name).read_bytes()


def test_finished_layers_are_found_again(
    partial: PartialCheckpoint, checkpoint: Checkpoint
) -> None:
    resumed = PartialCheckpoint(partial.folder, "job-1", checkpoint.architecture)
    assert resumed.finished() == records(LAYERS - 1)


def test_a_crash_between_layer_and_record_costs_that_layer_only(
    partial: PartialCheckpoint,
) -> None:
    (partial.folder / "layer-00002.json").unlink()
    (partial.folder / ".layer-00002.json.4711").write_text('{"size": 1')
    assert partial.finished() == records(2)


@pytest.mark.parametrize("fault", ["truncated", "flipped", "gone", "record torn", "record other"])
def test_a_torn_layer_ends_the_run(partial: PartialCheckpoint, fault: str) -> None:
    file, record = (partial.folder / f"layer-00001.{kind}" for kind in ("safetensors", "json"))
    data = bytearray(file.read_bytes())
    if fault == "truncated":
        file.write_bytes(data[:-1])
    elif fault == "flipped":
        data[-1] ^= 1
        file.write_bytes(data)
    elif fault == "gone":
        file.unlink()
    else:
        record.write_text('{"size": ' if fault == "record torn" else "[1]")
    assert partial.finished() == records(1)


def test_a_rewritten_layer_has_no_old_record(
    partial: PartialCheckpoint, checkpoint: Checkpoint
) -> None:
    layer = {name: tensor + 1 for name, tensor in checkpoint.layer(1).items()}
    with pytest.raises(ValueError, match="not JSON compliant"):
        partial.write_layer(1, layer, {"error": float("nan")})
    assert partial.finished() == records(1)


def test_the_folder_belongs_to_one_job(partial: PartialCheckpoint, checkpoint: Checkpoint) -> None:
    with pytest.raises(ResumeError, match="another job"):
        PartialCheckpoint(partial.folder, "job-2", checkpoint.architecture)
    (partial.folder / "job").unlink()
    with pytest.raises(ResumeError, match="contains no job"):
        PartialCheckpoint(partial.folder, "job-1", checkpoint.architecture)


def test_the_fingerprint_tells_jobs_apart(checkpoint: Checkpoint, tmp_path: Path) -> None:
    def of(folder: Path, calibration: str = "hash", **spec: object) -> str:
        values = {"model": "local:m", "ratio": 0.2} | spec
        return fingerprint.of(
            Checkpoint.open(folder), PruneSpec.model_validate(values), calibration
        )

    first = of(checkpoint.folder)
    shutil.copytree(checkpoint.folder, tmp_path / "moved")
    assert of(tmp_path / "moved") == first
    assert of(checkpoint.folder, evaluation={"texts": ["wikitext2"]}) == first
    tuned = Tiny(layers=LAYERS, seed=1).save(tmp_path / "tuned")
    others = [of(checkpoint.folder, "other"), of(checkpoint.folder, ratio=0.3), of(tuned)]
    assert len({first, *others}) == 4


def test_only_a_finished_model_has_its_tensors(
    partial: PartialCheckpoint, checkpoint: Checkpoint
) -> None:
    with pytest.raises(ResumeError, match="layer 3 is not finished"):
        partial.tensors(checkpoint)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 160 kB: room for some of the layers."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(mount)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no small disk: mounting a tmpfs needs root")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_a_full_disk_is_said_and_leaves_nothing_half_written(
    small_disk: Path, checkpoint: Checkpoint
) -> None:
    partial = PartialCheckpoint(small_disk / "work", "job", checkpoint.architecture)

    def write_all() -> None:
        for index in range(LAYERS):
            partial.write_layer(index, checkpoint.layer(index), {"layer": index})

    with pytest.raises(StorageError, match=r"the disk is full: .* needs .* MB .* MB are free"):
        write_all()
    assert not list(partial.folder.glob(".*"))
    assert partial.finished() == records(2)


def test_a_disk_that_fills_up_while_writing_is_the_same(
    small_disk: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look at the free room is passed by: the library itself meets the end of the disk."""
    partial = PartialCheckpoint(small_disk / "work", "job", checkpoint.architecture)
    (small_disk / "ballast").write_bytes(bytes(136 * 1024))
    monkeypatch.setattr("slimgpt.machine.disk.SLACK", -(10**9))
    with pytest.raises(StorageError, match="the disk is full"):
        partial.write_layer(0, checkpoint.layer(0), {})
    assert sorted(path.name for path in partial.folder.iterdir()) == ["job"]
