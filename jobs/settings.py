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
from slimgpt.spec.sizes import MAX_DEVICES, Size

PREFIX = "SLIMGPT_"
LogLevel = Literal["debug", "info", "warning", "error"]


def _below_home(home: Path) -> dict[str, Any]:
    """Defaults of the settings that name a folder or database."""
    from sqlalchemy import URL  # escapes special characters

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
        description="Parent of all folders that are not set.",
    )
    database_url: SecretStr = Field(
        SecretStr(""),
        description="SQLAlchemy URL of the database: `sqlite:///FILE` or "
        "`postgresql+psycopg://USER:PASSWORD@HOST/NAME`. Unset: `slimgpt.db` below `home`.",
    )
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis or Valkey for job messages and progress.",
    )
    artifacts_url: str = Field(
        "",
        description="Artifact store: a folder or an fsspec URL such as `s3://bucket/dir`. Unset: "
        "`artifacts` below `home`.",
    )
    artifact_redirects: bool = Field(
        False,
        description="Redirect downloads to the object store, by links that are valid for five "
        "minutes; only if `artifacts_url` is `s3://`.",
    )
    artifact_public_endpoint: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="Address of the object store for clients, used in those links. Unset: "
        "`AWS_ENDPOINT_URL`.",
    )
    share_layers: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Copy finished layers to the artifact store, so that other machines can resume "
        "from them. `auto`: if it is an object store, or not on the disk of `work_root`.",
    )
    models_root: Path = Field(
        Path(), description="Folder of `local:` models. Unset: `models` below `home`."
    )
    texts_root: Path = Field(
        Path(), description="Folder of `local:` texts. Unset: `texts` below `home`."
    )
    work_root: Path = Field(
        Path(), description="Working folder of running attempts. Unset: `work` below `home`."
    )
    uploads_root: Path = Field(
        Path(),
        description="Temporary files of uploads while the API validates them. Unset: `uploads` "
        "below `home`.",
    )
    auth: Literal["keys", "off"] = Field(
        "keys",
        description="`keys`: requests need an API key. `off`: they need none; requires "
        "`loopback_only`.",
    )
    loopback_only: bool = Field(
        False,
        description="Refuse requests from other machines, and requests whose `Host` is not a "
        "loopback address.",
    )
    key_pepper: SecretStr = Field(
        SecretStr(""),
        description="Secret of at least 32 characters that hashes API keys and derives the secrets "
        "of webhooks; changing it invalidates all of them. `openssl rand -hex 32` generates one. "
        "Unset: the file `pepper` below `home`, if it exists.",
    )
    requests_per_minute: int = Field(
        600,
        ge=1,
        description="Rate limit of a key, or of an IP address without a key; none if `auth` is "
        "off.",
    )
    max_streams_per_owner: int = Field(
        100,
        ge=1,
        description="Event streams of an owner per API process; unlimited if `auth` is off.",
    )
    max_streams: int = Field(
        500, ge=1, description="Event streams per API process; fewer if `ulimit -n` is low."
    )
    max_downloads_per_owner: int = Field(
        20, ge=1, description="Downloads of an owner per API process; unlimited if `auth` is off."
    )
    max_downloads: int = Field(100, ge=1, description="Downloads per API process.")
    max_active_jobs: int = Field(100, ge=1, description="Queued and running jobs of an owner.")
    min_free_bytes: int = Field(
        1 << 30,
        ge=0,
        description="New jobs and uploads are refused while a disk of artifacts, database, work or "
        "uploads has less free space.",
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
        "auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="Device of the engine."
    )
    max_devices: int = Field(
        1, ge=1, le=MAX_DEVICES, description="Most GPUs of one job; a worker needs as many."
    )
    lease_seconds: float = Field(
        60.0,
        gt=0,
        le=3600,
        description="A worker that does not renew its lease for this time loses the job; it renews "
        "after every third of it.",
    )
    max_attempts: int = Field(
        3, ge=1, le=100, description="Attempts before a job whose workers are lost fails."
    )
    engine_hang_seconds: float = Field(
        3600.0, gt=0, description="An engine that sends no event for this time is stopped."
    )
    engine_stop_seconds: float = Field(
        5.0, ge=0, description="Time between SIGTERM and SIGKILL when the engine is stopped."
    )
    job_time_limit_seconds: float | None = Field(
        None, gt=0, description="Time limit of one attempt. Unset: no limit."
    )
    reap_seconds: float = Field(
        5.0, gt=0, description="Interval of the checks for expired leases and lost messages."
    )
    redispatch_seconds: float = Field(
        30.0,
        gt=0,
        description="The message of a job that is still queued after this time can be sent again.",
    )
    artifact_days: float | None = Field(
        None,
        gt=0,
        description="Days after a job's end until its files are removed; report and record stay. "
        "Unset: never.",
    )
    artifact_bytes: Size | None = Field(
        None,
        description="Limit for the files of all jobs together, such as `500GiB`; the files of the "
        "jobs that ended first are removed first. Unset: no limit.",
    )
    layer_days: float = Field(
        3.0,
        ge=0,
        description="Days that the finished layers of a failed job are kept for a retry; on a "
        "worker's disk only while it has `min_free_bytes` free.",
    )
    record_days: float | None = Field(
        None,
        gt=0,
        description="Days after a job's end until it is deleted with its files. Unset: never.",
    )
    housekeeping_seconds: float = Field(
        60.0, gt=0, description="Interval of the checks for files and records to remove."
    )
    engine_command: tuple[str, ...] = Field(
        (sys.executable, "-m", "slimgpt"),
        min_length=1,
        description="Command of the engine, as a JSON list; `run SPEC WORKDIR …` is appended.",
    )
    warm_engine: bool = Field(
        True, description="Let an engine wait for the next job, its libraries imported: 0.5 GiB."
    )
    metrics_token: SecretStr = Field(
        SecretStr(""),
        description="Bearer token of at least 16 characters for the metrics of all processes. "
        "Unset: the API's metrics need an admin key.",
    )
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port on which a worker or reaper serves its metrics. Unset: none.",
    )
    metrics_host: str = Field(
        "127.0.0.1", description="Address on which a worker or reaper serves its metrics."
    )
    max_webhooks: int = Field(10, ge=1, description="Webhooks that an owner may have.")
    webhook_allow_private: bool = Field(
        False,
        description="Allow webhooks to this machine and private networks, and http. Only if all "
        "owners may access those networks.",
    )
    webhook_timeout_seconds: float = Field(
        15.0, gt=0, le=30, description="Time limit of one attempt to deliver to a webhook."
    )
    webhook_retry_seconds: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400),
        max_length=40,
        description="Pauses before the second, third, … attempt, as a JSON list; after the last "
        "attempt the delivery fails.",
    )
    webhook_disable_days: float = Field(
        5.0, gt=0, description="Days without a successful delivery until a webhook is disabled."
    )
    webhook_log_days: float = Field(
        30.0, gt=0, description="Days that finished deliveries stay in the log."
    )
    log_level: LogLevel = Field("info", description="Minimum level of log entries.")
    log_json: bool = Field(True, description="Logs as JSON lines; false: as text for people.")

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, data: Any) -> Any:
        """An empty value means unset: Compose files pass `VARIABLE=` for unset variables."""
        return {k: v for k, v in data.items() if v != ""} if isinstance(data, dict) else data

    @field_validator("metrics_token")
    @classmethod
    def _hard_to_guess(cls, token: SecretStr) -> SecretStr:
        if 0 < len(token.get_secret_value()) < 16:
            raise ValueError("a token must have at least 16 characters")
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
    """The settings are invalid; the message has one line per variable."""


def load(**given: Any) -> Settings:
    """The settings of this process.

    Args:
        given: settings from the command line, which override the environment.

    Raises:
        BadSettings: a variable is invalid; the message names each one.
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
