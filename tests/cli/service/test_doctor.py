"""`slimgpt doctor` where nothing runs, and where servers of one's own are named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

from cli.main import app
from cli.options.local_service import LocalService
from cli.service import doctor
from tests.servers import free_port


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs it on a home; exit status and findings. Lines say the same as JSON."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in list(os.environ):
        if name.startswith("SLIMGPT_"):
            monkeypatch.delenv(name)

    def run(*arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
        home = ("--home", str(tmp_path / "home"))
        shown = CliRunner().invoke(app, ["doctor", *home, *arguments, "--json"])
        items = json.loads(shown.stdout)["items"]
        lines = CliRunner().invoke(app, ["doctor", *home, *arguments])
        assert lines.exit_code == shown.exit_code
        remedies = [item["remedy"] for item in items if item["remedy"]]
        assert [line.split("→ ")[1] for line in lines.stdout.splitlines() if "→ " in line] == (
            remedies
        )
        return shown.exit_code, {item["part"]: item for item in items}

    return run


def test_a_machine_without_a_service_is_told_how_to_start_one(asked: Any, tmp_path: Path) -> None:
    status, found = asked()
    assert status == 0
    assert set(found) == {
        *("python", "memory", "disk", "redis", "database", "service", "torch", "hub"),
    }
    assert [item["part"] for item in found.values() if item["state"] == "fault"] == []
    assert "slimgpt up --models" in found["service"]["remedy"]
    assert not (tmp_path / "home").exists()  # it only looks
    assert "torch" in found["torch"]["detail"]
    assert found["hub"]["state"] == "note"
    assert "local" in found["hub"]["remedy"]


def test_a_service_that_does_not_answer_is_a_fault_with_its_process(
    asked: Any, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    url = f"http://127.0.0.1:{free_port()}"
    LocalService(os.getpid(), url, str(home / "models"), str(home / "texts")).write(home)
    status, found = asked()
    assert status == 1
    assert found["service"]["state"] == "fault"
    assert url in found["service"]["detail"]
    assert str(os.getpid()) in found["service"]["remedy"]
    assert found["redis"]["state"] == "fault"


def test_servers_of_ones_own_are_checked_as_config_check_does(
    asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIMGPT_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    status, found = asked()
    assert status == 1
    assert "SLIMGPT_REDIS_URL" in found["redis"]["detail"]
    assert "slimgpt database upgrade" in found["database"]["detail"]


def test_what_is_missing_comes_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "LEAST_MEMORY", 1 << 60)
    monkeypatch.setattr(doctor, "LEAST_DISK", 1 << 60)
    found = {finding.part: finding for finding in doctor.examine(tmp_path)}
    assert found["memory"].state == found["disk"].state == "note"
    assert "slimgpt plan" in found["memory"].remedy
    assert "slimgpt delete" in found["disk"].remedy
