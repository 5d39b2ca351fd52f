"""`slimgpt config check`: validates settings, database, Redis and storage before a start."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from cli.options.groups import Commands
from cli.options.local_service import LocalService, running
from cli.options.shared import Json, ServiceHome

if TYPE_CHECKING:
    from jobs.settings import Settings

CONNECT_SECONDS = 5.0
# LEASE_SECOND is similar to LEASE_SECONDS; MODELS, of docker-compose.yml, not to MODELS_ROOT.
SIMILARITY = 0.85
config = Commands("config", help="Check the service's settings.")


class CheckFailed(Exception):  # noqa: N818 - says what is the case
    """A check failed; the message is one line."""


class Finding(NamedTuple):
    """The result of a check: a part, whether it is valid, and details."""

    part: str
    ok: bool
    detail: str


@config.callback()
def group() -> None:
    """Check the service's settings."""


@config.command()
def check(
    home: ServiceHome = None,
    as_json: Json = False,
) -> None:
    """Check settings, database, Redis and storage; exit status 1 if a check fails.

    \b
    Example:
      slimgpt config check --json
    """
    state = []
    for finding in findings(home):
        state.append(finding)
        if not as_json:
            typer.echo(f"{'ok   ' if finding.ok else 'FAULT'}  {finding.part:<10} {finding.detail}")
    if as_json:
        typer.echo(json.dumps({"items": [finding._asdict() for finding in state]}))
    if not all(finding.ok for finding in state):
        raise typer.Exit(1)


def findings(home: Path | None) -> Iterator[Finding]:
    """What each check finds, with the settings of this process, or of the `up` that runs there."""
    from jobs.settings import BadSettings, load

    service = running(home)
    given = {} if home is None else {"home": home}
    try:
        settings = load(**given, **(_of_service(service) if service else {}))
    except BadSettings as error:
        for line in str(error).splitlines():
            yield Finding("settings", False, line)
        return
    yield from _misspelt() or [Finding("settings", True, "valid")]
    checks = dict(CHECKS)
    if service and not os.environ.get("SLIMGPT_REDIS_URL"):
        checks["redis"] = lambda _settings: embedded_redis(service)
    for part, look in checks.items():
        try:
            yield Finding(part, True, look(settings))
        except CheckFailed as fault:
            yield Finding(part, False, str(fault))
        except Exception as error:  # any error of a driver or file system
            yield Finding(part, False, _reason(error))


def _of_service(service: LocalService) -> dict[str, Any]:
    """What `slimgpt up` decides for its processes, and no variable does."""
    given: dict[str, Any] = {"models_root": service.models, "texts_root": service.texts}
    if os.environ.get("SLIMGPT_AUTH") in (None, "", "off"):
        given |= {"auth": "off", "loopback_only": True}
    return given


def embedded_redis(service: LocalService) -> str:
    """Ask the service for its Redis, whose password only its processes know."""
    import httpx

    try:
        answer = httpx.get(f"{service.url}/readyz", trust_env=False, timeout=CONNECT_SECONDS)
        state = answer.json().get("checks", {}).get("redis")
    except (httpx.HTTPError, ValueError, AttributeError) as error:
        raise CheckFailed(
            f"slimgpt up at {service.url} does not answer: {_reason(error)}; stop process "
            f"{service.pid} and start it again"
        ) from error
    if state != "ok":
        raise CheckFailed(f"that of slimgpt up at {service.url} does not answer; see its logs")
    return f"embedded in slimgpt up at {service.url}"


def _reason(error: Exception) -> str:
    """The message of an exception on one line."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _misspelt() -> list[Finding]:
    """Findings for variables with names similar to a setting's, which would be ignored silently.

    Other variables with the same prefix are allowed: the client's, docker-compose.yml's, and those
    that Kubernetes sets for a service called `slimgpt-api`.
    """
    from jobs.settings import PREFIX, Settings

    known = {name.upper() for name in Settings.model_fields}
    given = {
        name.upper().removeprefix(PREFIX) for name in os.environ if name.upper().startswith(PREFIX)
    }
    near = {name: get_close_matches(name, known, n=1, cutoff=SIMILARITY) for name in given - known}
    return [
        Finding(
            "settings", False, f"{PREFIX}{name} is not a setting; did you mean {PREFIX}{meant[0]}?"
        )
        for name, meant in sorted(near.items())
        if meant
    ]


def _keys(settings: Settings) -> str:
    from api.auth import check as check_auth

    check_auth(settings)
    return "required" if settings.auth == "keys" else "off: only this machine may connect"


def _database(settings: Settings) -> str:
    from sqlalchemy import make_url, text
    from sqlalchemy.exc import OperationalError

    from jobs.store.database import make_engine, revisions

    url = make_url(settings.database_url.get_secret_value())
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise CheckFailed(f"there is no file {url.database}; `slimgpt database upgrade` creates it")
    engine = make_engine(settings.database_url.get_secret_value(), answer_seconds=CONNECT_SECONDS)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        current, newest = revisions(engine)
    except OperationalError as error:
        reason = " ".join(str(error.orig).split())
        raise CheckFailed(
            f"{url.render_as_string()} does not answer: {reason}; "
            "check that it runs, and SLIMGPT_DATABASE_URL"
        ) from error
    finally:
        engine.dispose()
    if current != newest:
        at = f"at schema {current}" if current else "empty"
        raise CheckFailed(
            f"{url.render_as_string()} is {at}, not {newest}: run the migration step, "
            "`slimgpt database upgrade`"
        )
    return f"{url.render_as_string()}, schema {current}"


def _redis(settings: Settings) -> str:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    client = redis.Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=CONNECT_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    with client:
        place = client.connection_pool.connection_kwargs
        where = f"{place.get('host', place.get('path'))}:{place.get('port', '')}".rstrip(":")
        try:
            client.ping()
        except redis.RedisError as error:
            raise CheckFailed(
                f"{where}: {_reason(error)}; check that it runs, and SLIMGPT_REDIS_URL"
            ) from error
    return f"answers at {where}"


def _artifacts(settings: Settings) -> str:
    from jobs.files.artifacts import Artifacts
    from jobs.files.storage_urls import require

    require(settings)
    try:
        artifacts = Artifacts(settings.artifacts_url)
        artifacts.probe()
        prefix = f"config-check-{secrets.token_hex(8)}"
        artifacts.write(prefix, "probe", b"written by slimgpt config check")
        artifacts.delete(prefix)
    except Exception as error:  # each kind of store raises its own
        store = settings.artifacts_url.startswith("s3://")
        more = ", AWS_ENDPOINT_URL and the AWS credentials" if store else ""
        raise CheckFailed(f"{_reason(error)}; check SLIMGPT_ARTIFACTS_URL{more}") from error
    return f"{settings.artifacts_url} can be written"


def _readable(folder: Path, variable: str) -> str:
    if not folder.is_dir():
        raise CheckFailed(f"{folder} is not a folder; create it, or name another by {variable}")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise CheckFailed(f"{folder} cannot be read by this user ({variable})")
    return f"{folder} can be read"


def _work(settings: Settings) -> str:
    folder = settings.work_root
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise CheckFailed(f"{folder} cannot be written by this user (SLIMGPT_WORK_ROOT)")
    free = shutil.disk_usage(there).free
    if free < settings.min_free_bytes:
        raise CheckFailed(
            f"the disk of {folder} has {free:,} bytes free, less than SLIMGPT_MIN_FREE_BYTES "
            f"({settings.min_free_bytes:,})"
        )
    return f"{folder}, {free:,} bytes free"


CHECKS: dict[str, Callable[[Settings], str]] = {
    "keys": _keys,
    "database": _database,
    "redis": _redis,
    "artifacts": _artifacts,
    "models": lambda settings: _readable(settings.models_root, "SLIMGPT_MODELS_ROOT"),
    "texts": lambda settings: _readable(settings.texts_root, "SLIMGPT_TEXTS_ROOT"),
    "work": _work,
}
