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


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with the client's requirements alone."""
    return slim.make(tmp_path_factory.mktemp("slim") / "client", "client")


def test_it_needs_what_its_group_names(base_url: str, python: Path) -> None:
    lists = slim.project()
    assert set(map(str, lists["client"])) <= set(map(str, lists["dependencies"]))
    assert not {"torch", "sqlalchemy", "fastapi", "numpy"} & set(slim.required(lists["client"]))
    done = subprocess.run(
        [python, "-W", "error", "-c", PROBE, base_url], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("cancelled\n")


def test_the_environment_lacks_the_rest(python: Path) -> None:
    rest = ("torch", "sqlalchemy", "fastapi")
    probe = f"from importlib.util import find_spec; print(*map(find_spec, {rest}))"
    done = subprocess.run([python, "-c", probe], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["None"] * 3
