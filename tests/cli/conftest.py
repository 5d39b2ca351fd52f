"""The real command in processes of its own, on a tiny model with a tokenizer."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fork_server import ForkServer

Slimgpt = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def slimgpt(fork_server: ForkServer) -> Slimgpt:
    """Run `slimgpt ARGUMENTS…` in a fork and wait; standard output and error are pipes.

    With `cold` it starts Python, as users do.
    """

    def run(
        *arguments: object, cold: bool = False, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        forked = [*fork_server.command("cli.main"), *map(str, arguments)]
        return subprocess.run(
            command(*arguments) if cold else forked,
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
            timeout=200,
            stdin=subprocess.DEVNULL,
        )

    return run


def command(*arguments: object) -> list[str]:
    """The command line of `slimgpt ARGUMENTS…`."""
    return [sys.executable, "-m", "cli.main", *map(str, arguments)]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of three layers with random weights and one token a byte."""
    from tests.slimgpt.tiny import Tiny

    return Tiny(tokenizer=True).save(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def prose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text file: this project's own licence."""
    path = tmp_path_factory.mktemp("texts") / "prose.txt"
    path.write_text((ROOT / "LICENSE").read_text(encoding="utf-8"), encoding="utf-8")
    return path
