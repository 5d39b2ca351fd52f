"""`Launch`: when and how a run was started; and the imports that a start consists of."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from slimgpt.events import Progress

LIBRARIES = ("torch", "transformers")
"""Their imports take most of a start, 5 to 50 seconds."""
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
