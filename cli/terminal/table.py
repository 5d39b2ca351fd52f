"""Tables on standard output."""

from __future__ import annotations

from rich.console import Console

PIPE_WIDTH = 400


def wide_console() -> Console:
    """Standard output; in a pipe, wide enough that nothing is cut."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)
