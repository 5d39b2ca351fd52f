"""A folder appears under its name when it is complete, and only then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from slimgpt.errors import StorageError
from slimgpt.machine import disk


def test_a_folder_appears_at_the_end(tmp_path: Path) -> None:
    with disk.new_folder(tmp_path / "out") as folder:
        (folder / "inner").mkdir()
        (folder / "inner/file").touch()
        assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "inner", "file"]


def test_a_folder_whose_writing_failed_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with disk.new_folder(tmp_path / "out") as folder:
            (folder / "file").touch()
            raise RuntimeError("the folder does not load")

    with pytest.raises(RuntimeError, match="does not load"):
        fail()
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from slimgpt.machine import disk\n"
        "with disk.new_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half').touch(); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=False)
    assert killed.returncode == -9
    assert not (tmp_path / "out").exists()
    with disk.new_folder(tmp_path / "out") as folder:
        (folder / "whole").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "whole"]


def test_a_result_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    with pytest.raises(StorageError, match="exists already"), disk.new_folder(tmp_path / "out"):
        raise AssertionError
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]
