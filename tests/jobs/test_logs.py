"""Logs in a process of their own, as `configure` leaves it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import structlog
from jobs import logs

def connect(url):
    raise ValueError("no answer")

logs.configure("info", as_json=sys.argv[1] == "json")
try:
    connect("postgresql://ann:hunter" + "2@db/jobs")
except ValueError:
    structlog.get_logger("a").exception("it broke", job="job_1")
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_traceback_says_where_and_no_secret(form: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, form], capture_output=True, text=True, check=True
    )
    assert "ValueError: no answer" in ended.stderr
    assert "in connect" in ended.stderr
    assert "hunter2" not in ended.stderr
    if form == "json":
        assert json.loads(ended.stderr)["job"] == "job_1"
