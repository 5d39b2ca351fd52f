"""The processes of the service never load torch: they start in a second and never touch CUDA."""

from __future__ import annotations

import subprocess
import sys

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
