"""Logs in a process of their own, as `configure` leaves it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

PROGRAM = """
import sys
import structlog
from jobs.logs import structured as logs

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


FORGED = (
    '\n{"event": "forged", "level": "info"}\n2026-11-22 [info] forged',
    "\r[info] forged",
    "\x1b[2K\x1b[1Aforged \x1b]0;title\x07",
    "user \u202egnp.exe \u2066 forged\u2028forged \x85forged\x00",
    "\ud800 lone",
)
INJECTION = """
import json, logging, sys
import structlog
from jobs.logs import structured as logs

logs.configure("info", as_json=sys.argv[1] == "json")
for text in json.loads(sys.argv[2]):
    raw = text.encode("utf-8", "replace")
    structlog.get_logger("a").info(text, job=text, metadata={"k": text}, raw=raw)
    logging.getLogger("library").warning("said %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        structlog.get_logger("a").exception("it broke")
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_nobody_forges_a_line(form: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INJECTION, form, json.dumps(FORGED)],
        capture_output=True,
        check=True,
    )
    said = ended.stderr.decode("utf-8")  # strict: what is no character is escaped
    assert not [c for c in said if c != "\n" and not c.isprintable()]
    lines = said.splitlines()
    if form == "json":
        assert len(lines) == 3 * len(FORGED)
        assert [json.loads(line)["level"] for line in lines] == ["info", "warning", "error"] * 5
        return
    entries = [line for line in lines if not line.startswith("    | ")]
    assert len(entries) == 3 * len(FORGED)
    assert all(line.startswith("2") and "T" in line[:20] for line in entries)


REPEATED = """
import logging, sys
import structlog
from jobs.logs import structured as logs

logs.configure("info", as_json=True)
log = structlog.get_logger("a")
for number in range(1000):
    log.warning("it fails", path=f"/{number}")
    logging.getLogger("library").error("no room for %s", number)
    logging.getLogger("library").error(f"fd {number} at 0x{number:x}")
    try:
        raise OSError(24, "Too many open files")
    except OSError:
        log.exception("it broke", request_id=str(number))
    log.info("request", path=f"/{number}")
for number in range(100):
    log.warning("worker lost", job=f"job_{number}")
"""
EACH = 20  # entries of a kind that are written; a few more where the machine is slow


def test_what_is_repeated_is_counted_not_written() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", REPEATED], capture_output=True, text=True, check=True
    )
    entries = [json.loads(line) for line in ended.stderr.splitlines()]
    said = Counter(entry["event"].split(" 9")[0] for entry in entries if entry["level"] != "info")
    for words in ("it fails", "it broke"):
        assert EACH <= said[words] < 2 * EACH
    assert sum("no room for" in words for words in said) < 4 * EACH
    counted = [e["event"] for e in entries if "counted, not written" in e["event"]]
    assert {words.split(": ")[1].split()[0] for words in counted} == {"it", "no", "fd"}
    numbers = [int(words.split()[0]) for words in counted]
    written = sum(entry["level"] != "info" for entry in entries) - len(counted) - 100
    assert sum(numbers) + written == 4 * 1000
    # What differs in its job, or is no warning, is all there.
    assert said["worker lost"] == 100
    assert sum(entry["event"] == "request" for entry in entries) == 1000


REDACTED = """
import os, sys
import structlog
from jobs.logs import structured as logs
from jobs.settings import Settings

settings = Settings(database_url="postgresql://ann:correct-horse-battery@db/jobs",
                    log_json=sys.argv[1] == "json")
logs.configure_for(settings)
log = structlog.get_logger("a")
url = settings.database_url.get_secret_value()
log.info("connecting", url=url, also={"p": "correct-horse-battery"})
try:
    raise ValueError("correct-horse-battery " + os.environ["HF_TOKEN"])
except ValueError:
    log.exception("it broke")
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_the_finished_line_holds_no_secret(form: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", REDACTED, form],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"HF_TOKEN": "a token of another shape"},
    )
    assert "correct-horse" not in ended.stderr
    assert "another shape" not in ended.stderr
    assert ended.stderr.count("[redacted]") == 4
    assert "postgresql://ann" in ended.stderr
