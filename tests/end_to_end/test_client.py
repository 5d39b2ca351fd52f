"""What the client's manual shows, run as it stands, and its notebook, on a real `slimgpt up`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from api.schemas.examples import JOBS
from slimgpt.client import Client
from tests.fork_server import ForkServer
from tests.up import ROOT, Up

EXAMPLES = ROOT / "examples"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall((ROOT / "docs" / "client.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer) -> Iterator[Up]:
    """The service of the README: the bundled model, and its texts."""
    folders = ["--models", str(EXAMPLES), "--texts", str(EXAMPLES / "model" / "texts")]
    home = tmp_path_factory.mktemp("client") / "home"
    service = Up(home, folders, fork_server.engine())
    service.start()
    yield service
    service.close()


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_examples_of_the_manual_run(up: Up, tmp_path: Path, number: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCKS[number]],
        env={**up.env, "SLIMGPT_URL": up.url, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    if "download" in BLOCKS[number]:
        assert (tmp_path / "smaller" / "config.json").is_file()
        assert "2.01M → " in done.stdout


def test_the_notebook_runs_and_shows_tables(
    up: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIMGPT_URL", up.url)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(EXAMPLES / "client.ipynb", as_version=4)
    assert [cell for cell in notebook.cells if cell.get("outputs")] == []
    program = [sys.executable, "-c", RUN, str(EXAMPLES / "client.ipynb"), str(tmp_path)]
    done = subprocess.run(program, check=False, capture_output=True, text=True, timeout=220)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert [("<table>" in html) for html in shown if html] == [True] * 2 + [False] + [True] * 3
    assert any("<progress" in html and 'value="100"' in html for html in shown)
    assert (tmp_path / "smaller" / "config.json").is_file()


# In a process of its own, because a kernel's client leaves warnings behind.
RUN = """
import json, sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=200, resources={"metadata": {"path": sys.argv[2]}}).execute()
outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
print(json.dumps([output.get("data", {}).get("text/html", "") for output in outputs]))
"""


def test_the_examples_of_the_schema_work(up: Up) -> None:
    with Client(up.url) as client:
        schema = up.get("/openapi.json")["components"]["schemas"]["JobRequest"]
        assert schema["examples"] == JOBS
        *of_this_service, of_the_hub = schema["examples"]
        assert not of_the_hub["model"].startswith("local:")
        for example in of_this_service:
            assert client.jobs.plan(example).warnings == []
        ended = client.jobs.wait(client.jobs.create(of_this_service[0]))
        assert ended.status == "succeeded"


def test_the_submitted_name_is_that_of_prune(up: Up, tmp_path: Path) -> None:
    """A folder below the service's models is the service's `local:` name of it."""
    text = str(EXAMPLES / "model" / "texts" / "calibration.jsonl")
    plan = ("--ratio", "0.3", "--samples", "8", "--seq-len", "64", "--calibration", text)
    home = {"SLIMGPT_HOME": str(up.home)}
    env = os.environ | up.env | home | {"SLIMGPT_URL": up.url}
    for name in (str(EXAMPLES / "model"), "local:model"):
        done = subprocess.run(
            up.command("submit", name, *plan, "--json"),
            env=env,
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        job = json.loads(done.stdout)
        assert job["spec"]["model"] == "local:model"
        up.http.post(f"/v1/jobs/{job['id']}/cancel")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        up.command("submit", str(elsewhere), *plan),
        env=env,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert done.returncode == 1
    assert f"is not below {EXAMPLES}" in done.stderr


def test_the_doctor_finds_a_healthy_service_healthy(up: Up) -> None:
    env = os.environ | up.env | {"SLIMGPT_HOME": str(up.home)}
    for command in ("doctor", "config check"):
        done = subprocess.run(
            up.command(*command.split(), "--json"),
            env=env,
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=120,
        )
        items = json.loads(done.stdout)["items"]
        faults = [item for item in items if item.get("state") == "fault" or item.get("ok") is False]
        assert faults == []
        assert done.returncode == 0
        assert any(up.url in item["detail"] for item in items)
