"""`Loop`: a periodic task on a thread that survives errors."""

from __future__ import annotations

import threading
from typing import Any

import structlog

from worker.housekeeping.metrics import failed_looks, last_look

STOP_SECONDS = 5.0
log = structlog.get_logger(__name__)


class Loop:
    """Calls `look`, which subclasses define, periodically until `stop`.

    Args:
        name: of the thread, in the log and in metrics.
        pause_seconds: from the end of a call to the start of the next.
    """

    def __init__(self, name: str, pause_seconds: float) -> None:
        self.name = name
        self.over = threading.Event()
        """Set by `stop`; long calls of `look` check it."""
        self._pause = pause_seconds
        self._thread: threading.Thread | None = None
        failed_looks.labels(name)  # starts at 0, so that `increase` shows the first failure

    def look(self) -> Any:
        """Do what is due once."""
        raise NotImplementedError

    def run(self) -> None:
        """Call `look` until `stop`."""
        while not self.over.is_set():
            try:
                self.look()
                last_look.labels(self.name).set_to_current_time()
            except self.expected() as error:
                failed_looks.labels(self.name).inc()
                log.warning(f"the {self.name} will try again", error=str(error))
            except Exception:
                failed_looks.labels(self.name).inc()
                # The loop must survive defects: without it nothing would be repaired.
                log.exception(f"the {self.name} will try again")
            self.over.wait(self._pause)

    def expected(self) -> tuple[type[Exception], ...]:
        """Exceptions of an outage; logged without a traceback."""
        return ()

    def start(self) -> None:
        """Run the loop on a thread."""
        self._thread = threading.Thread(target=self.run, name=self.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the loop and wait for it, but not long: it may hang in a store."""
        self.over.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)
