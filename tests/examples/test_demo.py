"""The demonstration, for real: a service, a job, two models that write; readable in a pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.fork_server import ForkServer

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "examples" / "model"


def run_demo(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "examples.demo", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100", **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_it_prunes_the_shipped_model(tmp_path: Path, fork_server: ForkServer) -> None:
    out = tmp_path / "demo"
    done = run_demo("--out", str(out), "--samples", "16", **fork_server.engine())
    assert done.returncode == 0, done.stdout
    report = json.loads((out / "pruned" / "report.json").read_text())
    [measured] = report["perplexity"]
    files = (out / "pruned").glob("*.safetensors")
    kept = sum(tensor.numel() for path in files for tensor in load_file(path).values())
    for shown in (
        f"{kept:,}",
        f"{measured['dense']:.2f}",
        f"{measured['pruned']:.2f}",
        "service stopped",
        str(out / "pruned"),
    ):
        assert shown in done.stdout, done.stdout
    assert "\x1b" not in done.stdout
    assert 0.298 < 1 - kept / report["model"]["parameters_before"] < 0.302
    assert not list(out.glob("service/up.json"))  # its process is gone


@pytest.mark.usefixtures("shared")
def test_a_real_model_is_recovered_and_timed_in_llama_cpp(
    tmp_path: Path, fork_server: ForkServer
) -> None:
    """All steps of it, on the smallest model that there is."""
    out = tmp_path / "demo"
    small = ("--samples", "8", "--minutes", "0.05")
    done = run_demo("--model", "model", "--out", str(out), *small, **fork_server.engine())
    assert done.returncode == 0, done.stdout
    report = json.loads((out / "pruned" / "report.json").read_text())
    [measured] = report["perplexity"]
    assert report["spec"]["recovery"]["method"] == "distillation"
    for shown in (f"{measured['recovered']:.2f}", report["verdict"], "writing, tokens/s"):
        assert shown in " ".join(done.stdout.split()), done.stdout


def test_it_leaves_a_folder_alone_that_it_did_not_make(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    done = run_demo("--out", str(tmp_path))
    assert done.returncode == 1
    assert "name another folder" in done.stdout
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
