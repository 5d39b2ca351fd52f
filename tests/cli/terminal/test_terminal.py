"""The command in a real terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path

from tests.fork_server import ForkServer


def test_a_terminal_without_colours_gets_bars_without_colours(
    tiny_model: Path, prose: Path, fork_server: ForkServer
) -> None:
    text, status = _in_terminal(
        *fork_server.command("cli.main"),
        *("eval", tiny_model, "--text", prose, "--max-tokens", 2000, "--device", "cpu"),
        NO_COLOR="1",
        TERM="xterm-256color",
    )
    assert status == 0, text
    assert "evaluating" in text
    assert re.search(r"\d+/3", text)
    assert "perplexity  " in text
    assert re.search(r"\x1b\[[0-9;]*3[0-7]m", text) is None


def _in_terminal(*words: object, **environment: str) -> tuple[str, int]:
    """What a command writes to a terminal of 100 columns, and its exit status."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [str(word) for word in words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "COLUMNS": "100", **environment},
    ) as process:
        os.close(slave)
        chunks = []
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not chunk:
                break
            chunks.append(chunk)
    os.close(master)
    return b"".join(chunks).decode(), process.returncode
