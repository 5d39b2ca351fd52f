"""`slimgpt config check` against real servers and folders, right and wrong ones."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from jobs.store.database import downgrade
from tests.cli.conftest import ROOT
from tests.servers import free_port

PEPPER = "a pepper that only the tests know, of some length"
VARIABLE = re.compile(r"^(SLIMGPT_(?!LOG_LEVEL|MAX_DEVICES)\w+)=", re.MULTILINE)
PARTS = {"settings", "keys", "database", "redis", "artifacts", "models", "texts", "work"}


@pytest.fixture
def check(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database_url: str, redis_url: str
) -> Any:
    """Runs the check with everything right but the variables given; exit status and findings."""
    home = tmp_path / "home"
    for name in ("models", "texts"):
        (home / name).mkdir(parents=True)
    right = {
        "SLIMGPT_HOME": str(home),
        "SLIMGPT_DATABASE_URL": database_url,
        "SLIMGPT_REDIS_URL": redis_url,
        "SLIMGPT_KEY_PEPPER": PEPPER,
        "SLIMGPT_MIN_FREE_BYTES": "1",
    }

    def run(**wrong: str) -> tuple[int, dict[str, dict[str, Any]]]:
        for name, value in {**right, **wrong}.items():
            monkeypatch.setenv(name, value)
        outcome = CliRunner().invoke(app, ["config", "check", "--json"])
        items = json.loads(outcome.stdout)["items"]
        lines = CliRunner().invoke(app, ["config", "check"])
        assert lines.exit_code == outcome.exit_code
        assert len(lines.stdout.splitlines()) == len(items)
        assert "hunter2" not in lines.output + outcome.output
        assert PEPPER not in lines.output
        return outcome.exit_code, {item["part"]: item for item in items}

    return run


def test_all_is_well_and_nothing_is_left(check: Any, tmp_path: Path) -> None:
    status, found = check()
    assert status == 0
    assert set(found) == PARTS
    assert all(item["ok"] for item in found.values())
    assert list((tmp_path / "home" / "artifacts").iterdir()) == []


NOBODY = f"127.0.0.1:{free_port()}"


@pytest.mark.parametrize(
    ("part", "wrong", "words"),
    [
        ("settings", {"SLIMGPT_LEASE_SECOND": "9"}, "did you mean SLIMGPT_LEASE_SECONDS?"),
        ("keys", {"SLIMGPT_KEY_PEPPER": "short"}, "SLIMGPT_KEY_PEPPER has 5 characters"),
        ("keys", {"SLIMGPT_AUTH": "off"}, "SLIMGPT_LOOPBACK_ONLY"),
        ("database", {"SLIMGPT_DATABASE_URL": "sqlite:////none/x.db"}, "there is no file"),
        ("database", {"SLIMGPT_DATABASE_URL": f"postgresql+psycopg://u:hunter2@{NOBODY}/d"},
         "check that it runs, and SLIMGPT_DATABASE_URL"),
        ("database", {"SLIMGPT_DATABASE_URL": "hunter2"}, "URL"),
        ("redis", {"SLIMGPT_REDIS_URL": f"redis://:hunter2@{NOBODY}/0"}, "SLIMGPT_REDIS_URL"),
        ("artifacts", {"SLIMGPT_ARTIFACTS_URL": "/proc/none"}, "check SLIMGPT_ARTIFACTS_URL"),
        ("artifacts", {"SLIMGPT_ARTIFACTS_URL": "nowhere://x"}, "nowhere"),
        ("models", {"SLIMGPT_MODELS_ROOT": "/none"}, "SLIMGPT_MODELS_ROOT"),
        ("texts", {"SLIMGPT_TEXTS_ROOT": "/none"}, "SLIMGPT_TEXTS_ROOT"),
        ("work", {"SLIMGPT_WORK_ROOT": "/dev/null"}, "cannot be written"),
        ("work", {"SLIMGPT_MIN_FREE_BYTES": str(1 << 60)}, "SLIMGPT_MIN_FREE_BYTES"),
    ],
)  # fmt: skip
def test_each_fault_is_a_line_of_its_own(
    check: Any, part: str, wrong: dict[str, str], words: str
) -> None:
    status, found = check(**wrong)
    assert status == 1
    assert [name for name, item in found.items() if not item["ok"]] == [part]
    assert words in found[part]["detail"]
    assert set(found) == PARTS


def test_variables_of_others_are_let_be(check: Any) -> None:
    of_others = {
        "SLIMGPT_URL": "http://127.0.0.1:8000",
        "SLIMGPT_API_KEY": "slim_x",
        "SLIMGPT_API_SERVICE_HOST": "10.0.0.1",  # Kubernetes, of the service slimgpt-api
        "SLIMGPT_API_PORT": "tcp://10.0.0.1:80",
        **dict.fromkeys(VARIABLE.findall((ROOT / ".env.example").read_text()), "1" * 32),
    }
    status, found = check(**of_others)
    assert status == 0
    assert set(found) == PARTS


def test_settings_that_cannot_be_read_are_named(check: Any) -> None:
    status, found = check(SLIMGPT_LEASE_SECONDS="soon")
    assert status == 1
    assert set(found) == {"settings"}
    assert "SLIMGPT_LEASE_SECONDS" in found["settings"]["detail"]


def test_an_old_schema_is_a_fault(check: Any, database_url: str) -> None:
    downgrade(database_url, "0001")
    status, found = check()
    assert status == 1
    assert "is at schema 0001, not " in found["database"]["detail"]
    assert "migration step" in found["database"]["detail"]
    downgrade(database_url)
    assert "is empty" in check()[1]["database"]["detail"]
