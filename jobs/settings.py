"""`Settings`: the configuration of all processes, from `SLIMGPT_*` variables.

One frozen object for api, worker and reaper. Paths that are not set lie below `home`, so
that one folder holds a whole service on one machine.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from jobs.pepper import read_pepper
from slimgpt.spec.sizes import Size

PREFIX = "SLIMGPT_"
LogLevel = Literal["debug", "info", "warning", "error"]


def _below_home(home: Path) -> dict[str, Any]:
    """What the settings that name a place are when they are not set."""
    from sqlalchemy import URL  # which escapes what means something else in a URL

    database = URL.create("sqlite", database=str(home / "slimgpt.db"))
    return {
        "database_url": SecretStr(database.render_as_string(hide_password=False)),
        "artifacts_url": str(home / "artifacts"),
        "models_root": home / "models",
        "texts_root": home / "texts",
        "work_root": home / "work",
        "uploads_root": home / "uploads",
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
    artifact_redirects: bool = Field(
        False,
        description="Downloads are redirected to the object store by links that last five minutes, "
        "in place of passing through the API; only with an `s3://` place of artifacts.",
    )
    artifact_public_endpoint: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="Address of the object store as clients reach it, for those links. Unset: that "
        "of `AWS_ENDPOINT_URL`.",
    )
    share_layers: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether finished layers are copied to the place of artifacts, so that another "
        "machine can go on from them. `auto`: if it is an object store or another disk than that "
        "of `work_root`.",
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
    uploads_root: Path = Field(
        Path(),
        description="Scratch space of the API, for uploads while they are checked. Unset: "
        "`uploads` below `home`.",
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
        description="Secret, at least 32 characters, under which API keys are hashed and webhooks "
        "signed; another one makes every key invalid and every webhook's secret another. "
        "`openssl rand -hex 32` makes one. Unset: the file `pepper` below `home`, if there is one.",
    )
    requests_per_minute: int = Field(
        600,
        ge=1,
        description="Requests that a key, or an address without one, may make; not counted with "
        "`auth` off.",
    )
    max_streams_per_owner: int = Field(
        100, ge=1, description="Event streams of an owner in one API process; all with `auth` off."
    )
    max_streams: int = Field(
        500, ge=1, description="Event streams in one API process; fewer if descriptors are few."
    )
    max_downloads_per_owner: int = Field(
        20, ge=1, description="Downloads of an owner in one API process; all with `auth` off."
    )
    max_downloads: int = Field(100, ge=1, description="Downloads in one API process.")
    max_active_jobs: int = Field(
        100, ge=1, description="Unfinished jobs, waiting or running, that an owner may have."
    )
    min_free_bytes: int = Field(
        1 << 30,
        ge=0,
        description="No new job or upload is taken while a disk of artifacts, database, work or "
        "uploads has less free.",
    )
    max_upload_bytes: int = Field(
        1 << 30, ge=1, description="Largest calibration text that can be uploaded."
    )
    max_uploads_per_owner: int = Field(
        1000, ge=1, description="Calibration sets that an owner may keep."
    )
    max_uploaded_bytes_per_owner: int = Field(
        10 << 30, ge=1, description="Bytes of calibration sets that an owner may keep."
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
    artifact_days: float | None = Field(
        None,
        gt=0,
        description="Files of a job are removed so many days after its end; report and record stay."
        " Unset: never.",
    )
    artifact_bytes: Size | None = Field(
        None,
        description="Most that the files of all jobs may take together, such as `500GiB`; those of "
        "the jobs that ended first go first. Unset: no limit.",
    )
    layer_days: float = Field(
        3.0,
        ge=0,
        description="Finished layers of a failed job are kept so many days, for a retry to go on "
        "from; on a worker's disk only while it has `min_free_bytes` free.",
    )
    record_days: float | None = Field(
        None,
        gt=0,
        description="Jobs are deleted, with all they left, so many days after their end. "
        "Unset: never.",
    )
    housekeeping_seconds: float = Field(
        60.0, gt=0, description="Pause between two looks for files and records to remove."
    )
    engine_command: tuple[str, ...] = Field(
        (sys.executable, "-m", "slimgpt"),
        min_length=1,
        description="Command of the engine, as a JSON list; `run SPEC WORKDIR …` is appended.",
    )
    metrics_token: SecretStr = Field(
        SecretStr(""),
        description="Bearer token, at least 16 characters, that opens the metrics of every "
        "process. Unset: those of the API are open to admin keys alone.",
    )
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port on which a worker or reaper serves its metrics. Unset: it doesn't.",
    )
    metrics_host: str = Field(
        "127.0.0.1", description="Address on which a worker or reaper serves its metrics."
    )
    max_webhooks: int = Field(10, ge=1, description="Webhooks that an owner may have.")
    webhook_allow_private: bool = Field(
        False,
        description="Webhooks may lead to this machine and to private networks, and may use http. "
        "Only where whoever may post jobs may reach those as well.",
    )
    webhook_timeout_seconds: float = Field(
        15.0, gt=0, le=30, description="Longest time that one attempt to tell a webhook may take."
    )
    webhook_retry_seconds: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400),
        max_length=40,
        description="Pauses before the second, third, … attempt, as a JSON list; when they are "
        "used up, the delivery has failed.",
    )
    webhook_disable_days: float = Field(
        5.0, gt=0, description="A webhook to which nothing got through for so long is disabled."
    )
    webhook_log_days: float = Field(
        30.0, gt=0, description="How long deliveries that are over stay in the log."
    )
    log_level: LogLevel = Field("info", description="Least severe log line that is written.")
    log_json: bool = Field(True, description="Logs as one JSON object a line, else for people.")

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, data: Any) -> Any:
        """Compose files pass `VARIABLE=` for what nobody set; an empty value means that."""
        return {k: v for k, v in data.items() if v != ""} if isinstance(data, dict) else data

    @field_validator("metrics_token")
    @classmethod
    def _hard_to_guess(cls, token: SecretStr) -> SecretStr:
        if 0 < len(token.get_secret_value()) < 16:
            raise ValueError("a token has at least 16 characters")
        return token

    @model_validator(mode="after")
    def _places(self) -> Settings:
        for name, place in _below_home(self.home.expanduser().absolute()).items():
            if name not in self.model_fields_set:
                object.__setattr__(self, name, place)
        if "key_pepper" not in self.model_fields_set:
            pepper = read_pepper(self.home.expanduser().absolute())
            object.__setattr__(self, "key_pepper", SecretStr(pepper))
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
            f"{PREFIX}{'.'.join(map(str, fault['loc'])).upper()}: "
            + fault["msg"].removeprefix("Value error, ")
            for fault in error.errors(include_url=False, include_input=False)
        ]
        raise BadSettings("\n".join(faults)) from error
    except SettingsError as error:
        field = re.search(r'field "(\w+)"', str(error))  # nothing else of it names the field
        name = f"{PREFIX}{field[1].upper()}" if field else str(error)
        raise BadSettings(f'{name}: not JSON; a list is written as ["a", "b"] or [1, 2]') from error
