"""`Settings`: everything an operator can set, from `SLIMGPT_*` variables.

One frozen object for api, worker and reaper. Paths that are not set lie below `home`, so
that one folder holds a whole service on one machine.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

PREFIX = "SLIMGPT_"
LogLevel = Literal["debug", "info", "warning", "error"]


def _below_home(home: Path) -> dict[str, Any]:
    """What the settings that name a place are when they are not set."""
    return {
        "database_url": SecretStr(f"sqlite:///{home / 'slimgpt.db'}"),
        "artifacts_url": str(home / "artifacts"),
        "models_root": home / "models",
        "texts_root": home / "texts",
        "work_root": home / "work",
    }


class Settings(BaseSettings):
    """Settings of the service; every field is the variable `SLIMGPT_` + its name in capitals.

    Raises:
        pydantic.ValidationError: a variable cannot be read; the message names it.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    home: Path = Field(
        default_factory=lambda: Path.home() / ".slimgpt",
        description="Folder of everything that has no place of its own.",
    )
    database_url: SecretStr = Field(
        SecretStr(""),
        description="SQLAlchemy URL of the store: `sqlite:///FILE` or "
        "`postgresql+psycopg://USER:PASSWORD@HOST/NAME`. Unset: `slimgpt.db` below `home`.",
    )
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis (or Valkey) that carries job messages and progress.",
    )
    artifacts_url: str = Field(
        "",
        description="Where published files go: a folder or an fsspec URL such as `s3://bucket/dir`."
        " Unset: `artifacts` below `home`.",
    )
    models_root: Path = Field(
        Path(), description="Folder of `local:` models. Unset: `models` below `home`."
    )
    texts_root: Path = Field(
        Path(), description="Folder of `local:` texts. Unset: `texts` below `home`."
    )
    work_root: Path = Field(
        Path(), description="Scratch space of running attempts. Unset: `work` below `home`."
    )
    auth: Literal["keys", "off"] = Field(
        "keys",
        description="`keys`: every request needs an API key. `off`: none does; only together with "
        "`loopback_only`.",
    )
    loopback_only: bool = Field(
        False,
        description="Refuse requests that do not come from this machine, or that name it otherwise "
        "than by a loopback address.",
    )
    key_pepper: SecretStr = Field(
        SecretStr(""),
        description="Secret, at least 32 characters, under which API keys are hashed; another one "
        "makes every key invalid. `openssl rand -hex 32` makes one.",
    )
    requests_per_minute: int = Field(
        600,
        ge=1,
        description="Requests that a key, or an address without one, may make; not counted with "
        "`auth` off.",
    )
    max_active_jobs: int = Field(
        100, ge=1, description="Unfinished jobs, waiting or running, that an owner may have."
    )
    min_free_bytes: int = Field(
        1 << 30,
        ge=0,
        description="No new job is taken while a disk of artifacts, database or work has less "
        "free.",
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="Device the engine computes on.",
    )
    lease_seconds: float = Field(
        60.0,
        gt=0,
        le=3600,
        description="A worker silent for so long has lost its job; it renews every third of it.",
    )
    max_attempts: int = Field(
        3, ge=1, le=100, description="Attempts before a job whose workers vanish is failed."
    )
    engine_hang_seconds: float = Field(
        3600.0, gt=0, description="An engine without an event for so long is stopped."
    )
    engine_stop_seconds: float = Field(
        5.0, ge=0, description="Grace between asking the engine to stop and killing it."
    )
    job_time_limit_seconds: float | None = Field(
        None, gt=0, description="Longest time one attempt may take. Unset: no limit."
    )
    reap_seconds: float = Field(
        5.0, gt=0, description="Pause between two looks for expired leases and lost messages."
    )
    redispatch_seconds: float = Field(
        300.0,
        gt=0,
        description="A job still queued so long after its message was sent is sent again.",
    )
    engine_command: tuple[str, ...] = Field(
        (sys.executable, "-m", "slimgpt"),
        min_length=1,
        description="Command of the engine, as a JSON list; `run SPEC WORKDIR …` is appended.",
    )
    log_level: LogLevel = Field("info", description="Least severe log line that is written.")
    log_json: bool = Field(True, description="Logs as one JSON object a line, else for people.")

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, data: Any) -> Any:
        """Compose files pass `VARIABLE=` for what nobody set; an empty value means that."""
        return {k: v for k, v in data.items() if v != ""} if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _places(self) -> Settings:
        for name, place in _below_home(self.home.expanduser().absolute()).items():
            if name not in self.model_fields_set:
                object.__setattr__(self, name, place)
        return self


class BadSettings(ValueError):  # noqa: N818 - says what is the case
    """The environment can't be read as settings; one line a variable."""


def load(**given: Any) -> Settings:
    """The settings of this process, for programs that explain what is wrong with them.

    Args:
        given: settings that a command line decides, before the environment.

    Raises:
        BadSettings: a variable can't be read; the message names each one.
    """
    try:
        return Settings(**given)
    except ValidationError as error:
        faults = [
            f"{PREFIX}{'.'.join(map(str, fault['loc'])).upper()}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        ]
        raise BadSettings("\n".join(faults)) from error
    except SettingsError as error:
        raise BadSettings(f"{error}; lists are written as JSON") from error
