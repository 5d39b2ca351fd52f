"""`python -m jobs.files.bucket`: a place is made once; what cannot be one is said in a line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from jobs.files.bucket import ensure


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    place = tmp_path / "artifacts"
    assert ensure(str(place)) == f"{place} was created"
    (place / "kept").touch()
    assert ensure(str(place)) == f"{place} exists"
    assert (place / "kept").exists()


def test_what_cannot_be_a_place_is_said_in_a_line(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "SLIMGPT_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "jobs.files.bucket"],
        env={**env, "SLIMGPT_ARTIFACTS_URL": "nowhere://bucket"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("the artifact store cannot be used: nowhere:// cannot be used")
    assert len(done.stderr.splitlines()) == 1
