"""The client works where only its own few requirements are installed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.deploy import slim

PROBE = """
import sys
from slimgpt.client import Client
with Client(sys.argv[1]) as client:
    job = client.jobs.create(model="local:tiny", ratio=0.25)
    print(client.jobs.cancel(job).status)
    print(len(client.jobs.list()._repr_html_()))
"""


def test_it_needs_what_its_group_names(base_url: str, tmp_path: Path) -> None:
    lists = slim.project()
    assert set(map(str, lists["client"])) <= set(map(str, lists["dependencies"]))
    assert not {"torch", "sqlalchemy", "fastapi", "numpy"} & set(slim.required(lists["client"]))
    python = slim.make(tmp_path / "client", "client")
    done = subprocess.run(
        [python, "-W", "error", "-c", PROBE, base_url], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("cancelled\n")


@pytest.mark.parametrize("module", ["torch", "sqlalchemy", "fastapi"])
def test_the_environment_lacks_the_rest(tmp_path: Path, module: str) -> None:
    python = slim.make(tmp_path / "client", "client")
    done = subprocess.run([python, "-c", f"import {module}"], check=False, capture_output=True)
    assert b"ModuleNotFoundError" in done.stderr
