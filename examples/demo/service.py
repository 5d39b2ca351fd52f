"""The service of a demonstration, and the `slimgpt` commands that use it, as one types them."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape

READY = re.compile(r"ready at (http://\S+)")
READY_SECONDS = 120.0
STOP_SECONDS = 60.0
console = Console(highlight=False)


class DemoError(Exception):
    """The demonstration cannot go on; the message says why, for people."""


@contextmanager
def service(home: Path, log: Path, models: Path, texts: Path) -> Iterator[str]:
    """`slimgpt up` on a free port, for the length of a block; gives its address."""
    command = ["up", "--home", str(home), "--models", str(models)]
    command += ["--texts", str(texts), "--port", "0"]
    show("Start the service: no server, no account, nothing to install", command)
    with log.open("wb") as sink:
        process = subprocess.Popen(
            _slimgpt(command),
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # Ctrl-C is the demo's to handle, in order
        )
    try:
        url = _await_address(process, log)
        console.print(f"ready at {url}")
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    console.print("\nservice stopped")


def submit(url: str, what: str, arguments: Sequence[str]) -> str:
    """Post a job; its id."""
    command = ["submit", *arguments, "--url", url]
    show(what, command)
    job = str(json.loads(run([*command, "--json"], capture=True))["id"])
    console.print(f"job {job}")
    return job


def watch(url: str, job: str) -> None:
    """Follow the job to its end, with the client's own bars."""
    command = ["watch", job, "--url", url]
    show("Watch it", command)
    run(command)


def download(url: str, job: str, folder: Path) -> None:
    """Bring the checkpoint and its report here."""
    command = ["download", job, str(folder), "--url", url]
    show("Download the result", command)
    run(command)


def run(arguments: Sequence[str], *, capture: bool = False) -> str:
    """Run a `slimgpt` command; what it wrote to stdout where captured."""
    stdout = subprocess.PIPE if capture else None
    done = subprocess.run(_slimgpt(arguments), stdout=stdout, text=True, check=False)
    if done.returncode:
        raise DemoError(f"`slimgpt {arguments[0]}` ended with status {done.returncode}")
    return done.stdout or ""


def show(what: str, arguments: Sequence[str]) -> None:
    """A heading, and the command that follows."""
    typed = shlex.join(["slimgpt", *map(short, arguments)])
    console.print(f"\n[bold]{what}[/bold]")
    console.print(f"[dim]$ {escape(typed)}[/dim]", soft_wrap=True)


def short(path: Path | str) -> str:
    """A path, or any other argument, as one would type it here."""
    return str(path).removeprefix(f"{Path.cwd()}/").replace(f"{Path.home()}/", "~/", 1)


def _slimgpt(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "cli.main", *arguments]


def _await_address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if found := READY.search(log.read_text(encoding="utf-8")):
            return found[1]
        time.sleep(0.1)
    words = log.read_text(encoding="utf-8")
    raise DemoError(f"the service did not start; {short(log)} says:\n{words}")
