"""The real command in processes of its own, on a tiny model with a tokenizer."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Slimgpt = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def slimgpt() -> Slimgpt:
    """Run `slimgpt ARGUMENTS…` and wait; standard output and error are pipes."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments),
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
