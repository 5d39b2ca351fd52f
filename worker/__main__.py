"""Entry point of a worker for one device: `python -m worker`, until TERM or INT.

The first signal gives the running job back and ends the worker when that is done.
"""

from __future__ import annotations

import os
import socket
import sys

from jobs.logs import structured
from jobs.settings import BadSettings


def main() -> None:
    """Start Celery as `jobs.messages.queue` sets it; explain settings that can't be read."""
    # Our flag ends the running task within seconds, which a warm shutdown waits for. Remapped to
    # QUIT, Celery would sleep through its whole soft shutdown although the task has ended.
    os.environ.pop("REMAP_SIGTERM", None)
    try:
        from worker.app import app, settings
    except BadSettings as error:
        sys.exit(str(error))
    structured.configure_for(settings)  # Celery has something to say before it asks for it
    name = f"slimgpt-{os.getpid()}@{socket.gethostname()}"
    chatter = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    app.worker_main(
        ["--quiet", "worker", "--hostname", name, "--loglevel", settings.log_level, *chatter]
    )


if __name__ == "__main__":
    main()
