"""Entry point of a worker for one device: `python -m worker`, until TERM or INT.

The first signal queues the running job again and then ends the worker.
"""

from __future__ import annotations

import os
import socket
import sys

from jobs.logs import structured
from jobs.settings import BadSettings


def main() -> None:
    """Start Celery as `jobs.messages.queue` configures it; invalid settings end the process."""
    # The shutdown flag ends the running task within seconds, and a warm shutdown waits for that.
    # With TERM remapped to QUIT, Celery would sleep for its whole soft shutdown timeout.
    os.environ.pop("REMAP_SIGTERM", None)
    try:
        from worker.app import app, settings
    except BadSettings as error:
        sys.exit(str(error))
    structured.configure_for(settings)  # Celery logs before its `setup_logging` signal
    name = f"slimgpt-{os.getpid()}@{socket.gethostname()}"
    chatter = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    app.worker_main(
        ["--quiet", "worker", "--hostname", name, "--loglevel", settings.log_level, *chatter]
    )


if __name__ == "__main__":
    main()
