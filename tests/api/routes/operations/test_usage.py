"""Every snippet of a finished job's card runs as it stands, on what the service serves."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.inventory.usage import MOST_FILES, Published, snippets
from jobs.settings import Settings
from jobs.store.store import Store
from tests.api.conftest import PublishJob
from tests.api.http.test_problems import problem

LOADED = "llama.cpp b9999"
EXAMPLE = Path(__file__).resolve().parents[4] / "examples" / "model"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A pruned model as the engine publishes it, beside a GGUF file of it."""
    from slimgpt.pipeline import run
    from slimgpt.sources.roots import Roots
    from slimgpt.spec.prune import PruneSpec

    shutil.copytree(EXAMPLE, tmp_path / "model")
    (tmp_path / "text.txt").write_text("All work and no play. " * 40)
    spec = PruneSpec.model_validate(
        {
            "model": "local:model",
            "ratio": 0.3,
            "calibration": {"source": "local:text.txt", "samples": 4, "sequence_length": 32},
            "evaluation": {"texts": []},
            "formats": ["padded", "gguf"],
        }
    )
    list(run(spec, tmp_path / "work", Roots(tmp_path, tmp_path), "cpu"))
    return tmp_path / "work" / "checkpoint"


def shell(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=200,
        check=False,
    )  # fmt: skip


def test_each_snippet_runs(
    api: httpx.Client,
    publish_job: PublishJob,
    published: Path,
    tmp_path: Path,
) -> None:
    job = publish_job(published, {"verdict": "smaller"})
    found = api.get(f"/jobs/{job}/usage").json()["items"]
    by_tool = {(one["tool"], one["format"]): one for one in found}
    assert set(by_tool) == {
        ("curl", "all"), ("transformers", "exact"), ("vllm", "exact"), ("transformers", "padded"),
        ("vllm", "padded"), ("llama.cpp", "gguf"),
    }  # fmt: skip
    here = tmp_path / "user"
    here.mkdir()
    fetched = shell(by_tool["curl", "all"]["code"], here)
    assert fetched.returncode == 0, fetched.stderr
    for item in api.get(f"/jobs/{job}/artifacts").json()["items"]:
        content = (here / job / item["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == item["sha256"], item["path"]
    for form in ("exact", "padded"):
        code = by_tool["transformers", form]["code"]
        assert ("trust_remote_code" in code) == (form == "exact")
        ran = subprocess.run(
            [sys.executable, "-I", "-c", code],
            cwd=here, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        assert "Once upon a time" in ran.stdout
        _check_vllm(by_tool["vllm", form]["code"], here, remote=form == "exact")
    _check_llama(by_tool["llama.cpp", "gguf"]["code"], here)


def _check_vllm(code: str, here: Path, *, remote: bool) -> None:
    """The real vLLM is not among the tests' libraries: the command's words are checked."""
    serve, _, request = code.partition("# in another terminal:\n")
    words = shlex.split(serve)
    assert words[:2] == ["vllm", "serve"]
    assert (here / words[2] / "config.json").is_file()
    assert ("--trust-remote-code" in words) == remote
    name = words[words.index("--served-model-name") + 1]
    body = json.loads(shlex.split(request)[-1])
    assert (body["model"], body["max_tokens"]) == (name, 32)


def _check_llama(code: str, here: Path) -> None:
    """llama.cpp's own server, of the tests' library, answers the request as it is written."""
    pytest.importorskip("xllamacpp")
    from slimgpt.verification.processes.llama_cpp_logprobs import Loaded

    serve, _, request = code.partition("# in another terminal:\n")
    words = shlex.split(serve)
    assert (words[:2], words[-2]) == (["llama-server", "-m"], "--port")
    model = Loaded(here / words[2], 63, 1)
    address = f"http://localhost:{words[-1]}"
    assert address in request
    told = shell(request.replace(address, model._server.listening_address), here)
    assert told.returncode == 0, told.stderr
    assert isinstance(json.loads(told.stdout)["content"], str)


def test_with_keys_the_key_is_taken_from_the_environment(tmp_path: Path) -> None:
    made = Published("job_1", ["a b'c.bin"], "https://x.example", True, {"": []})
    (curl,) = snippets(made)
    assert "$SLIMGPT_API_KEY" in curl.code
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "curl").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (bin_ / "curl").chmod(0o755)
    path = f"{bin_}{os.pathsep}{os.environ['PATH']}"
    said = shell(curl.code, tmp_path, PATH=path, SLIMGPT_API_KEY="slim_x").stdout.splitlines()
    assert "Authorization: Bearer slim_x" in said
    assert "job_1/a b'c.bin" in said
    assert "https://x.example/v1/jobs/job_1/artifacts/a%20b%27c.bin" in said


def test_each_model_of_a_sweep_has_its_own_and_parts_of_a_recovery_have_none() -> None:
    paths = [
        "report.json", "ratio-0.2/config.json", "ratio-0.2/modeling_slimgpt.py",
        "ratio-0.5/config.json", "ratio-0.5/gguf/m.gguf", "ratio-0.5/uniform/config.json",
        "ratio-0.5/adapters/config.json", "ratio-0.5/unrecovered/config.json",
    ]  # fmt: skip
    proofs: dict[str, list[dict[str, Any]]] = {
        "ratio-0.2": [], "ratio-0.5": [{"format": "gguf", "loader": LOADED}],
    }  # fmt: skip
    made = snippets(Published("job_1", paths, "http://x", False, proofs))
    assert [(one.tool, one.folder, one.format) for one in made if one.tool != "vllm"] == [
        ("curl", "", "all"), ("transformers", "ratio-0.2", "exact"),
        ("transformers", "ratio-0.5", "exact"), ("llama.cpp", "ratio-0.5", "gguf"),
        ("transformers", "ratio-0.5", "uniform"),
    ]  # fmt: skip
    assert [one.proved_by for one in made if one.tool == "llama.cpp"] == [LOADED]


def test_very_many_files_are_one_command() -> None:
    paths = [f"{n}.bin" for n in range(MOST_FILES + 1)]
    (curl,) = snippets(Published("job_1", paths, "http://x", False, {"": []}))
    assert shlex.split(curl.code) == ["slimgpt", "download", "job_1", "job_1", "--url", "http://x"]


def test_a_job_without_files_has_no_snippets(
    api: httpx.Client, finished: dict[str, Any], own_store: Store, settings: Settings
) -> None:
    assert api.get(f"/jobs/{finished['id']}/usage").status_code == 200
    shutil.rmtree(finished["folder"])
    problem(api.get(f"/jobs/{finished['id']}/usage"), "artifact-not-found")
    problem(api.get("/jobs/job_none/usage"), "job-not-found")
