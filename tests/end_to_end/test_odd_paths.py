"""A home whose path holds what means something else in URLs and patterns: a whole job in it.

One `slimgpt up` with the real engine; nothing lands outside the home, and no answer names it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fork_server import ForkServer
from tests.up import ROOT, Up

ODD = "o?dd%20 h#o::me [x]* ü"
MODEL, TEXT = "mo?del%20 #1::[a]", "te?xt%20 #1::[b].txt"
SPEC: dict[str, Any] = {
    "model": f"local:{MODEL}",
    "ratio": 0.2,
    "calibration": {"source": f"local:{TEXT}", "samples": 8, "sequence_length": 64},
    "evaluation": {"texts": [f"local:{TEXT}"], "sequence_lengths": [64], "max_tokens": 256},
}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer) -> Iterator[Up]:
    """The service in an odd home, with one odd model and one odd text in it."""
    home = tmp_path_factory.mktemp("odd-paths") / ODD
    (home / "texts").mkdir(parents=True, mode=0o700)
    shutil.copytree(ROOT / "examples" / "model", home / "models" / MODEL)
    shutil.copyfile(ROOT / "LICENSE", home / "texts" / TEXT)
    home.chmod(0o700)
    service = Up(home, settings={"SLIMGPT_REAP_SECONDS": "5", **fork_server.engine()})
    service.start()
    yield service
    service.close()


def test_a_job_is_done_in_an_odd_home_and_nothing_lands_beside_it(up: Up, tmp_path: Path) -> None:
    before = set(Path(tempfile.gettempdir()).iterdir())
    job_id = up.post(SPEC).json()["id"]
    status = up.await_status(job_id)
    assert status["status"] == "succeeded", status
    assert sorted(p.name for p in up.home.parent.iterdir()) == [ODD, up.output.name]
    for path in (up.home, up.home / "slimgpt.db", up.home / "artifacts" / "jobs" / job_id):
        assert path.exists()
    assert up.home.stat().st_mode & 0o077 == 0

    downloaded = up.run("download", job_id, str(tmp_path / ODD))
    assert downloaded.returncode == 0, downloaded.stderr
    assert (tmp_path / ODD / "model.safetensors").is_file()
    new = {path.name for path in set(Path(tempfile.gettempdir()).iterdir()) - before}
    assert not [name for name in new if "dd%20" in name or name.startswith("o")]

    told = [json.dumps(up.get(f"/jobs/{job_id}{part}")) for part in ("", "/status", "/layers")]
    told += [up.http.get(f"/jobs/{job_id}/{part}").text for part in ("report", "events")]
    for item in up.get(f"/jobs/{job_id}/artifacts")["items"]:
        if not item["path"].endswith(".safetensors"):
            told.append(up.http.get(f"/jobs/{job_id}/artifacts/{item['path']}").text)
    assert not [text for text in told if ODD in text or json.dumps(ODD)[1:-1] in text]


def test_the_commands_find_the_odd_home(up: Up) -> None:
    home = ("--home", str(up.home))
    checked = up.run("config", "check", *home)
    parts = {line.split()[1]: line.split()[0] for line in checked.stdout.splitlines()}
    assert {parts[part] for part in ("database", "artifacts", "models", "work")} == {"ok"}
    assert up.run("database", "current", *home).returncode == 0
    made = up.run("keys", "create", "--owner", "ada", *home)
    assert made.returncode == 0, made.stderr
    assert "ada" in up.run("keys", "list", *home).stdout
    second = up.run("up", *home, "--port", "0")
    assert second.returncode == 1
    assert up.url in second.stderr
