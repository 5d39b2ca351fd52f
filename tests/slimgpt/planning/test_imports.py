"""What plans a job runs in the API's image, where the engine's libraries are not."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parents[3] / "pyproject.toml"
PROGRAM = """
import sys
for name in sys.argv[1:]:
    sys.modules[name] = None
import cli.engine.plan, slimgpt.checkpoints.checkpoint
import slimgpt.planning.found_models, slimgpt.planning.preview
"""


def test_planning_imports_none_of_the_libraries_that_only_the_engine_has() -> None:
    described = tomllib.loads(PROJECT.read_text())
    service = {Requirement(one).name for one in described["dependency-groups"]["service"]}
    engine = {Requirement(one).name for one in described["project"]["dependencies"]} - service
    assert {"torch", "safetensors"} <= engine
    modules = [name.replace("-", "_").lower() for name in sorted(engine)]
    subprocess.run([sys.executable, "-c", PROGRAM, *modules], check=True, cwd=PROJECT.parent)
