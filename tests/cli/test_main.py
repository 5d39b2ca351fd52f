"""The command as a whole: help and version are there, complete, and load nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cli.main import COMMANDS, LazyCommands
from slimgpt import __version__
from tests.cli.conftest import Slimgpt

HEAVY = ("torch", "transformers", "datasets", "fastapi", "celery", "sqlalchemy", "redis", "httpx")


def test_version(slimgpt: Slimgpt) -> None:
    done = slimgpt("--version")
    assert (done.returncode, done.stdout) == (0, f"slimgpt {__version__}\n")


def test_help_names_every_command(slimgpt: Slimgpt) -> None:
    text = slimgpt("--help").stdout
    assert [name for name in COMMANDS if f"\n  {name} " not in text] == []


def test_the_list_says_what_each_command_says_of_itself() -> None:
    for name, command in LazyCommands().items():
        assert command.name == name
        assert command.help.splitlines()[0] == COMMANDS[name][1]


@pytest.mark.parametrize("name", ["prune", "webhooks"])
def test_a_command_has_help(slimgpt: Slimgpt, name: str) -> None:
    done = slimgpt(name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: python -m cli.main {name}")


@pytest.mark.parametrize(
    ("probe", "unwanted"),
    [
        ("from cli.main import app; app(['--help'], standalone_mode=False)", (*HEAVY, "pydantic")),
        ("from cli.main import LazyCommands; dict(LazyCommands())", HEAVY),
    ],
)
def test_help_loads_nothing_heavy(probe: str, unwanted: tuple[str, ...]) -> None:
    probe = f"import sys; {probe}; print(*set({unwanted!r}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == ""


def test_an_unknown_option_is_a_usage_error(slimgpt: Slimgpt) -> None:
    done = slimgpt("plan", "somewhere", "--ratio", "0.2", "--speed", "high")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "--speed" in done.stderr
