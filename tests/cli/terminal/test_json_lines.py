"""Standard output belongs to the events, whoever else prints."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os
from cli.terminal.json_lines import json_lines
print("before")
with json_lines() as write:
    print("a library", end="")
    os.write(1, b"code in C")
    write("{}")
print("after")
"""


def test_stray_prints_go_to_standard_error() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True
    )
    assert done.stdout == "before\n{}\nafter\n"
    assert "a library" in done.stderr
    assert "code in C" in done.stderr
