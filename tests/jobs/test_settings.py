"""Settings come from the environment, and say which variable is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from jobs.settings import BadSettings, Settings, load
from jobs.store.database import make_engine, upgrade


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SLIMGPT_{name.upper()}", raising=False)


def test_everything_lies_below_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLIMGPT_HOME", str(tmp_path))
    settings = Settings()
    assert settings.database_url.get_secret_value() == f"sqlite:///{tmp_path}/slimgpt.db"
    assert settings.artifacts_url == str(tmp_path / "artifacts")
    roots = (settings.models_root, settings.texts_root, settings.work_root)
    assert roots == (tmp_path / "models", tmp_path / "texts", tmp_path / "work")


ODD = ("a b", "q?uery", "per%20cent", "per%cent", "dou::ble", "ha#sh", "at@colon:80", "grüße")


@pytest.mark.parametrize("name", ODD)
def test_the_database_lies_in_the_home_whatever_its_name(tmp_path: Path, name: str) -> None:
    url = Settings(home=tmp_path / name).database_url.get_secret_value()
    upgrade(url)
    engine = make_engine(url)
    with engine.connect() as connection:
        connection.execute(text("SELECT count(*) FROM jobs"))
    engine.dispose()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "slimgpt.db").is_file()


def test_what_is_set_counts_and_empty_is_unset(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SLIMGPT_HOME", str(tmp_path))
    monkeypatch.setenv("SLIMGPT_MODELS_ROOT", "/models")
    monkeypatch.setenv("SLIMGPT_TEXTS_ROOT", "")
    monkeypatch.setenv("SLIMGPT_JOB_TIME_LIMIT_SECONDS", "")
    monkeypatch.setenv("SLIMGPT_ENGINE_COMMAND", '["python", "engine.py"]')
    settings = Settings()
    assert settings.models_root == Path("/models")
    assert settings.texts_root == tmp_path / "texts"
    assert settings.job_time_limit_seconds is None
    assert settings.engine_command == ("python", "engine.py")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LEASE_SECONDS", "0"),
        ("MAX_ATTEMPTS", "many"),
        ("DEVICE", "tpu"),
        ("LOG_LEVEL", "loud"),
        ("ENGINE_COMMAND", "[]"),
    ],
)
def test_errors_name_the_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"SLIMGPT_{name}", value)
    with pytest.raises(BadSettings, match=f"^SLIMGPT_{name}: "):
        load()


def test_lists_that_are_no_json_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIMGPT_ENGINE_COMMAND", "python engine.py")
    with pytest.raises(BadSettings, match=r"^SLIMGPT_ENGINE_COMMAND: not JSON"):
        load()


def test_secrets_are_not_printed() -> None:
    settings = Settings(
        database_url="postgresql://u:hunter2@h/d",
        redis_url="redis://:hunter2@h/0",
    )
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in settings.model_dump_json()


def test_every_setting_is_described() -> None:
    assert not [name for name, field in Settings.model_fields.items() if not field.description]
