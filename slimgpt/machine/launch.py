"""`Launch`: when and how a run was started; the imports that a start consists of; and a process
that has done them and waits for its job.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from slimgpt.events import Progress
from slimgpt.machine import threads

LIBRARIES = ("torch", "transformers")
"""Their imports take most of a start, 5 to 50 seconds."""
MODELS = "transformers.models.llama.modeling_llama"
"""Imports what the models of all families need."""
JOB_BYTES, MOST_KEPT = 1 << 16, 16
STEPS = len(LIBRARIES) + 2
"""Of the stage `start`: the libraries, the hub, the device."""


@dataclass(frozen=True)
class Launch:
    """The start of a run.

    Attributes:
        began: Unix time from which its duration counts: the start of the command, or the claim of
            a service's job.
        command: the command line that repeats it; empty if it was none.
    """

    began: float = field(default_factory=time.time)
    command: str = ""


def imports() -> Iterator[Progress]:
    """Import the large libraries, each announced by an event."""
    threads.prepare()
    for done, name in enumerate(LIBRARIES):
        yield Progress(stage="start", done=done, total=STEPS, what=f"importing {name}")
        importlib.import_module(name)


def asking_hub() -> Progress:
    """The step after the imports."""
    return Progress(stage="start", done=len(LIBRARIES), total=STEPS, what="asking the hub")


def opening_device() -> Progress:
    """The last step."""
    what = "opening the device"
    return Progress(stage="start", done=len(LIBRARIES) + 1, total=STEPS, what=what)


def awaited(after: float, prepare: Callable[[], object]) -> list[str] | None:
    """Wait for a job on standard input, a socket of `worker.engine.warm`.

    Args:
        after: without a job for so many seconds, `prepare` is called.

    Returns:
        The command's arguments, after changing to the job's folder; None if the socket was closed.
        Descriptors that came with the job stay open until the process ends.
    """
    with socket.socket(fileno=os.dup(0)) as line:
        if not select.select([line], [], [], after)[0]:
            prepare()
        message, _kept, _, _ = socket.recv_fds(line, JOB_BYTES, MOST_KEPT)
        while more := line.recv(JOB_BYTES):
            message += more
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    if not message:
        return None
    job = json.loads(message)
    os.chdir(job["folder"])
    arguments: list[str] = job["arguments"]
    return arguments
