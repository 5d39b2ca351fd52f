"""`python -m migrations` and `slimgpt database`, on both databases."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.store.database import upgrade, versions
from migrations.command import app


@pytest.fixture
def named_url(bare_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database without tables, the one that the settings name."""
    monkeypatch.setenv("SLIMGPT_DATABASE_URL", bare_url)
    return bare_url


def said(*words: str, status: int = 0) -> str:
    """What the command answers to such a line."""
    outcome = CliRunner().invoke(app, list(words))
    assert outcome.exit_code == status, outcome.output
    return outcome.output


def test_up_and_back_with_a_word_about_each_step(named_url: str) -> None:
    assert "at no version" in said("current", status=1)
    _, newest = versions(named_url)
    assert f"from no version to {newest}" in said("upgrade")
    assert f"at {newest} already" in said("upgrade")
    assert f"at {newest}, the newest is {newest}" in said("current")
    assert f"from {newest} to 0001" in said("downgrade", "0001")
    assert "at 0001" in said("current", status=1)
    assert "from 0001 to no version" in said("downgrade", "base")


def test_asking_makes_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIMGPT_DATABASE_URL", f"sqlite:///{tmp_path}/none.db")
    said("current", status=1)
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_are_as_good_as_one(named_url: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: _upgrade_apart(named_url), range(2)))
    current, newest = versions(named_url)
    assert current == newest


def _upgrade_apart(url: str) -> None:
    # Alembic's context is one a process.
    code = "import sys; from jobs.store.database import upgrade; upgrade(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, url], check=True, timeout=120)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("not a url", "is not a valid URL"),
        ("postgresql://u:hunter2@127.0.0.1:1/x", "cannot be used"),
    ],
)
def test_what_is_wrong_is_a_line_without_the_password(
    url: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIMGPT_DATABASE_URL", url)
    output = said("upgrade", status=1)
    assert words in output
    assert "hunter2" not in output
    assert len(output.splitlines()) == 1


def test_a_version_that_is_none_is_said(named_url: str) -> None:
    upgrade(named_url)
    assert "nowhere" in said("downgrade", "nowhere", status=1)


@pytest.mark.parametrize("program", [("-m", "migrations"), ("-m", "cli.main", "database")])
def test_the_programs_need_no_torch(program: tuple[str, ...], tmp_path: Path) -> None:
    """The image of the API has none: an import of it would fail here."""
    (tmp_path / "torch.py").write_text("raise ImportError('there is no torch here')")
    (tmp_path / "transformers.py").write_text("raise ImportError('nor transformers')")
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path),
        "SLIMGPT_DATABASE_URL": f"sqlite:///{tmp_path}/made.db",
    }
    command = [sys.executable, *program, "upgrade"]
    done = subprocess.run(
        command, check=False, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    current, newest = versions(f"sqlite:///{tmp_path}/made.db")
    assert current == newest
