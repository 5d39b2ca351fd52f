"""`Loop`: a periodic task on a thread that survives errors."""

from __future__ import annotations

import threading
from typing import Any

import structlog

from worker.housekeeping.metrics import failed_looks, last_look

STOP_SECONDS = 5.0
log = structlog.get_logger(__name__)


class Loop:
    """Calls `look`, which its heirs define, with a pause between two calls, until `stop`.

    Args:
        name: of the thread, and in the log.
        pause_seconds: from the end of a look to the start of the next.
    """

    def __init__(self, name: str, pause_seconds: float) -> None:
        self.name = name
        self.over = threading.Event()
        """Set when it is to end; a look that takes long asks."""
        self._pause = pause_seconds
        self._thread: threading.Thread | None = None
        failed_looks.labels(name)  # from 0: the first failure is to be seen as a rise

    def look(self) -> Any:
        """Do what is due, once."""
        raise NotImplementedError

    def run(self) -> None:
        """Look again and again until `stop`."""
        while not self.over.is_set():
            try:
                self.look()
                last_look.labels(self.name).set_to_current_time()
            except self.expected() as error:
                failed_looks.labels(self.name).inc()
                log.warning(f"the {self.name} will try again", error=str(error))
            except Exception:
                failed_looks.labels(self.name).inc()
                # A process that lives on without this loop would repair nothing, unnoticed.
                log.exception(f"the {self.name} will try again")
            self.over.wait(self._pause)

    def expected(self) -> tuple[type[Exception], ...]:
        """What an outage raises: worth a line, not a traceback."""
        return ()

    def start(self) -> None:
        """Run on a thread."""
        self._thread = threading.Thread(target=self.run, name=self.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the loop, and wait a moment for it: it may hang in a store that hangs."""
        self.over.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)
