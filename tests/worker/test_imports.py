"""The service computes nothing: none of its packages may bring torch in, even indirectly."""

from __future__ import annotations

import subprocess
import sys

MODULES = (
    "jobs.store.store, jobs.messages.progress, jobs.files.artifacts, jobs.messages.queue, "
    "worker.app, worker.housekeeping.reaper"
)


def test_no_torch() -> None:
    code = f"import sys, {MODULES}; print({{'torch', 'transformers'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
