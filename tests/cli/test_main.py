"""The command as a whole: help and version are there, complete, and load nothing heavy."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cli.main import COMMANDS, SECTIONS, STATUSES, LazyCommands, app
from slimgpt import __version__
from tests.cli.conftest import Slimgpt

NOBODY = "http://127.0.0.1:9"
CLIENT = f"""
from cli.main import app
from typer.testing import CliRunner
lines = (["jobs"], ["cancel", "job_1"], ["webhooks", "list"], ["submit", "local:m", "--ratio", "0"])
ended = [CliRunner().invoke(app, [*words, "--url", "{NOBODY}"]) for words in lines]
assert all("no service answers" in one.stderr for one in ended), [one.stderr for one in ended]
"""
HEAVY = ("torch", "transformers", "datasets", "fastapi", "celery", "sqlalchemy", "redis", "httpx")


def test_version(slimgpt: Slimgpt) -> None:
    done = slimgpt("--version", cold=True)
    assert (done.returncode, done.stdout) == (0, f"slimgpt {__version__}\n")


def test_help_names_every_command(slimgpt: Slimgpt) -> None:
    text = slimgpt("--help", cold=True).stdout
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
        (CLIENT, tuple(name for name in HEAVY if name != "httpx")),
    ],
)
def test_help_loads_nothing_heavy(probe: str, unwanted: tuple[str, ...]) -> None:
    probe = f"import sys\n{probe}\nprint(*set({unwanted!r}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == ""


def test_an_unknown_option_is_a_usage_error(slimgpt: Slimgpt) -> None:
    done = slimgpt("plan", "somewhere", "--ratio", "0.2", "--speed", "high")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: no such option: --speed")
    assert done.stderr.endswith("; see python -m cli.main plan --help\n")


def commands(group: Any = None, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that can be run, with the words that name it."""
    whole: Any = group or typer.main.get_command(app)
    for name, command in whole.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *names, name)
        else:
            yield (*names, name), command


def test_the_list_is_in_sections_with_an_example_each_and_the_statuses(slimgpt: Slimgpt) -> None:
    text = slimgpt("--help").stdout
    for title, (example, _) in SECTIONS.items():
        assert f"\n{title}:\n" in text
        assert f"  Example: {example}\n" in text
        assert shlex.split(example)[1] in SECTIONS[title][1]
    assert STATUSES in text


def test_every_command_has_an_example_that_it_understands() -> None:
    for words, command in commands():
        _, _, example = (command.help or "").partition("Example:\n")
        given = shlex.split(example.replace("\\\n", " "))
        assert given[: len(words) + 1] == ["slimgpt", *words], words
        with command.make_context(" ".join(words), given[len(words) + 1 :]) as context:
            assert context.params  # nothing was refused


def test_no_help_is_cut() -> None:
    runner = CliRunner()
    for words in {(), *(words for words, _ in commands()), *((w[0],) for w, _ in commands())}:
        shown = runner.invoke(app, [*words, "--help"], terminal_width=60)
        assert shown.exit_code == 0
        assert "..." not in shown.stdout.replace("[ARGS]...", "").replace("}...", ""), words


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["jobs", "--speed"], "no such option: --speed; see slimgpt jobs --help"),
        (["prune"], "missing argument 'MODEL'; see slimgpt prune --help"),
        (["jbos"], "no such command 'jbos'. Did you mean 'jobs'?; see slimgpt --help"),
        (["up", "--port", "x"], "invalid value for '--port': "),
        (["submit", "--ratio", "0.2"], "no model is given: name it as MODEL"),
        (["webhooks", "delete"], "missing argument 'ID'; see slimgpt webhooks delete --help"),
    ],
)
def test_errors_of_usage_are_one_line_like_all_others(arguments: list[str], line: str) -> None:
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 2
    assert outcome.stdout == ""
    assert outcome.stderr.startswith(f"error: {line}")
    assert outcome.stderr.count("\n") == 1


def test_a_group_without_a_command_shows_its_help() -> None:
    outcome = CliRunner().invoke(app, ["webhooks"])
    assert outcome.exit_code == 2
    assert "redeliver" in outcome.stderr


def test_the_shell_completes_commands_options_and_values() -> None:
    program = str(Path(sys.executable).with_name("slimgpt"))

    def completed(*words: str) -> list[str]:
        told = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
        environment = {**os.environ, **told, "_SLIMGPT_COMPLETE": "complete_bash"}
        done = subprocess.run(
            [program], env=environment, check=True, capture_output=True, text=True
        )
        return done.stdout.split()

    assert completed("slimgpt", "jo") == ["jobs"]
    assert completed("slimgpt", "jobs", "--st") == ["--status"]
    assert completed("slimgpt", "jobs", "--status", "ca") == ["cancelling", "cancelled"]
    assert completed("slimgpt", "prune", "--method", "w") == ["wanda-sp"]
    script = subprocess.run(
        [program, "--show-completion", "bash"],
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert re.search(r"complete .*slimgpt", script)
