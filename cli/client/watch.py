"""`slimgpt watch`: follows a job until it finishes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from cli.client.event_stream import states
from cli.client.http import Connection, Service, UnreachableError
from cli.client.outcome import show_outcome
from cli.options.shared import JobId, Json
from cli.terminal.exit_status import fail

TERMINAL = ("succeeded", "failed", "cancelled")  # any other status is not terminal
PAUSE_SECONDS = 1.0  # before the stream is opened again
PATIENCE_SECONDS = 120.0


def watch(job_id: JobId, connection: Connection, as_json: Json = False) -> None:
    """Follow a job until it ends.

    The exit status is 0 if it succeeded, else 1.
    """
    with connection.open() as service:
        follow(service, job_id, as_json=as_json)


def follow(service: Service, job_id: str, *, as_json: bool) -> None:
    """Show a job's progress until it is over, then its outcome.

    Raises:
        typer.Exit: status 1, the job failed or was cancelled; 130, Ctrl-C.
    """
    console = Console()
    try:
        changes = _changes(service, job_id)
        if as_json:
            for status in changes:
                typer.echo(json.dumps(status))
        elif console.is_terminal:
            _draw(changes, console)
        else:
            for status in changes:
                typer.echo(_line(status))
    except KeyboardInterrupt:
        fail(f"stopped watching; the job continues: slimgpt watch {job_id}", status=130)
    job = service.get(f"/jobs/{job_id}")
    if as_json:
        typer.echo(json.dumps(job))
    else:
        show_outcome(console, job, service.get(f"/jobs/{job_id}/layers")["items"])
    if job["status"] != "succeeded":
        fail(_reason(job))


def _changes(service: Service, job_id: str) -> Iterator[dict[str, Any]]:
    """Each state that differs from the one before, the last one terminal."""
    last: dict[str, Any] = {}
    silent_since: float | None = None
    while last.get("status") not in TERMINAL:
        try:
            for state in states(service, job_id):
                silent_since = None
                if _seen(state) != _seen(last):
                    last = state
                    yield state
        except UnreachableError:
            # The service may be restarting; its jobs are kept.
            silent_since = silent_since or time.monotonic()
            if not last or time.monotonic() - silent_since > PATIENCE_SECONDS:
                raise
        if last.get("status") not in TERMINAL:
            time.sleep(PAUSE_SECONDS)


def _seen(status: dict[str, Any]) -> tuple[Any, ...]:
    names = ("status", "stage", "layers_done", "percent", "eta_seconds", "attempt")
    return tuple(status.get(name) for name in names)


def _draw(changes: Iterator[dict[str, Any]], console: Console) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[layers]}"),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("waiting", total=100, layers="", left="")
        for status in changes:
            progress.update(
                bar,
                description=_phase(status),
                completed=float(status.get("percent") or 0),
                layers=_layers(status),
                left=_left(status),
            )


def _line(status: dict[str, Any]) -> str:
    percent = f"{float(status.get('percent') or 0):.0f}%"
    return "  ".join(filter(None, (_phase(status), percent, _layers(status), _left(status))))


def _phase(status: dict[str, Any]) -> str:
    stage = status.get("stage")
    return (
        f"{status['status']}: {stage}"
        if status["status"] == "running" and stage
        else str(status["status"])
    )


def _layers(status: dict[str, Any]) -> str:
    total = status.get("layers_total")
    return f"{status.get('layers_done') or 0}/{total} layers" if total else ""


def _left(status: dict[str, Any]) -> str:
    seconds = status.get("eta_seconds")
    if seconds is None or status["status"] in TERMINAL:
        return ""
    minutes, rest = divmod(round(float(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} left" if hours else f"{minutes}:{rest:02} left"


def _reason(job: dict[str, Any]) -> str:
    error = job.get("error") or {}
    said = "; ".join(filter(None, (error.get("message"), error.get("hint"))))
    became = "was cancelled" if job["status"] == "cancelled" else job["status"]
    return f"the job {became}" + (f": {said}" if said else "")
