"""`Wire`: a TCP connection to a server that a test may cut, refuse, or leave hanging."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from typing import Literal

State = Literal["well", "refuses", "hangs"]
CHUNK = 1 << 16
LOOK_SECONDS = 0.1


class Wire:
    """Listens on a port of its own and passes on what comes to another port of this machine.

    `state`, for all connections at once: `refuses` breaks those that there are and those to come,
    `hangs` passes on nothing more and says nothing either. `cut_after(count)` passes on so many
    bytes to the server and then refuses.
    """

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(LOOK_SECONDS)
        self.port: int = self._listener.getsockname()[1]
        self.state: State = "well"
        self._left: int | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut_after(self, count: int) -> None:
        """Let so many bytes through."""
        with self._lock:
            self._left = count

    def mend(self) -> None:
        """All is well again for whoever connects anew."""
        with self._lock:
            self._left = None
        self.state = "well"

    def close(self) -> None:
        """Break everything."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            with suppress(TimeoutError):
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if self.state == "refuses":
                return
            with socket.create_connection(("127.0.0.1", self._to_port)) as server:
                self._pass_on(client, server)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        with selectors.DefaultSelector() as ready:
            for one in other:
                ready.register(one, selectors.EVENT_READ)
            while not self._over.is_set() and self.state != "refuses":
                for key, _ in ready.select(LOOK_SECONDS):
                    if self.state == "hangs":
                        self._over.wait(LOOK_SECONDS)
                        continue
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    content = source.recv(CHUNK)
                    if not content:
                        return
                    if source is client and self._used_up(len(content)):
                        return
                    other[source].sendall(content)

    def _used_up(self, count: int) -> bool:
        with self._lock:
            if self._left is None:
                return False
            self._left -= count
            if self._left < 0:
                self.state = "refuses"
            return self._left < 0
