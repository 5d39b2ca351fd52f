"""`slimgpt keys` on real databases, and client commands that send a key."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from structlog.testing import capture_logs
from typer.testing import CliRunner
from typer.testing import Result as Outcome

from api.app import create_app
from cli.main import app
from jobs.settings import Settings
from tests.servers import free_port, wait_until

PEPPER = "a pepper that only the tests know, of some length"


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command with a database and a pepper in its environment."""
    monkeypatch.setenv("SLIMGPT_DATABASE_URL", database_url)
    monkeypatch.setenv("SLIMGPT_KEY_PEPPER", PEPPER)
    monkeypatch.delenv("SLIMGPT_API_KEY", raising=False)
    runner = CliRunner()

    def invoke(*arguments: str) -> Outcome:
        outcome = runner.invoke(app, list(arguments))
        assert outcome.exception is None or isinstance(outcome.exception, SystemExit)
        return outcome

    return invoke


@pytest.fixture
def url(settings: Settings, database_url: str) -> Iterator[str]:
    """A running API that asks for keys."""
    asked = {"auth": "keys", "key_pepper": PEPPER, "database_url": database_url}
    port = free_port()
    application = create_app(Settings(**{**settings.model_dump(), **asked}))
    server = uvicorn.Server(uvicorn.Config(application, port=port, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started, "uvicorn listens")
    with capture_logs():  # a line of the server's would be one of the command's output
        yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def test_a_key_from_its_making_to_its_end(
    run: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run("keys", "create", "--owner", "ada", "--name", "laptop")
    key = made.stdout.strip()
    assert key.startswith("slim_")
    assert "not shown again" in made.stderr
    listed = run("keys", "list").stdout
    assert key[18:] not in listed
    assert [word in listed for word in ("ada", "laptop", "never", "valid")] == [True] * 4
    assert run("jobs", "--url", url, "--api-key", key, "--json").exit_code == 0
    monkeypatch.setenv("SLIMGPT_API_KEY", key)
    assert "no jobs yet" in run("jobs", "--url", url).stdout
    items = json.loads(run("keys", "list", "--json").stdout)["items"]
    assert items[0]["last_used_at"] is not None
    assert "revoked" in run("keys", "revoke", items[0]["id"]).stdout
    refused = run("jobs", "--url", url)
    assert refused.exit_code == 1
    assert "not valid, or was revoked" in refused.stderr
    assert "revoked 2" in run("keys", "list").stdout


def test_without_a_key_the_client_says_how_to_name_one(run: Any, url: str) -> None:
    refused = run("jobs", "--url", url)
    assert refused.exit_code == 1
    assert refused.stderr.count("\n") == 1
    assert "--api-key or SLIMGPT_API_KEY" in refused.stderr
    strange = run("jobs", "--url", url, "--api-key", "slim_\nHost: x")
    assert "has invalid characters" in strange.stderr


def test_json_has_all_and_the_key_once(run: Any) -> None:
    made = json.loads(run("keys", "create", "--owner", "ops", "--admin", "--json").stdout)
    assert (made["owner"], made["admin"], made["last_used_at"]) == ("ops", True, None)
    listed = json.loads(run("keys", "list", "--owner", "ops", "--json").stdout)["items"]
    assert listed == [{name: value for name, value in made.items() if name != "key"}]
    assert json.loads(run("keys", "list", "--owner", "ada", "--json").stdout)["items"] == []
    assert json.loads(run("keys", "revoke", made["id"], "--json").stdout)["revoked_at"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["revoke", "key_none"], "there is no key 'key_none'"),
        (["create", "--owner", "a b"], "'a b' is not a valid owner"),
    ],
)
def test_refusals_are_one_line(run: Any, arguments: list[str], words: str) -> None:
    refused = run("keys", *arguments)
    assert refused.exit_code == 1
    assert words in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_missing_pepper_is_explained(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIMGPT_KEY_PEPPER", "")
    monkeypatch.setenv("SLIMGPT_HOME", str(tmp_path))  # the user's own may have one
    refused = run("keys", "create", "--owner", "ada")
    assert "SLIMGPT_KEY_PEPPER is not set" in refused.stderr
    assert run("keys", "list").exit_code == 0  # to look and to revoke needs none


def test_a_database_that_is_not_there_is_not_made(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SLIMGPT_DATABASE_URL")
    refused = run("keys", "list", "--home", str(tmp_path / "none"))
    assert "there is no database" in refused.stderr
    assert not (tmp_path / "none").exists()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "slimgpt.db").touch()
    refused = run("keys", "list", "--home", str(tmp_path / "old"))
    assert "newest schema" in refused.stderr
    assert refused.stderr.count("\n") == 1
