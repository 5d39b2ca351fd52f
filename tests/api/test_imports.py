"""The processes of the service never load torch: they start in a second and never touch CUDA."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
print(*sorted({"torch", "transformers", "datasets"} & set(sys.modules)))
"""


@pytest.mark.parametrize("package", ["api", "jobs", "worker"])
def test_no_module_of_the_service_loads_torch(package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, package], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == ""


COLLECTED = """
import gc
from api.app import from_environment
app = from_environment()
print(gc.get_freeze_count(), len(gc.get_objects()))
"""


def test_what_the_api_starts_with_is_no_work_for_the_garbage_collector(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "SLIMGPT_HOME": str(tmp_path), "SLIMGPT_AUTH": "off"}
    environment["SLIMGPT_LOOPBACK_ONLY"] = "true"
    done = subprocess.run(
        [sys.executable, "-c", COLLECTED],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    frozen, looked_through = map(int, done.stdout.split())
    assert frozen > 100 * looked_through
