"""A TCP proxy on loopback that can do what networks do: stall, be slow, and cut a connection at the
worst moment."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

CHUNK = 1 << 16


class Proxy:
    """Passes bytes to a port of this machine; a context manager."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self.stalled = threading.Event()
        """Set when something waits to be passed on while the proxy stalls."""
        self._marker: bytes | None = None
        self.refusing = False
        """Whether new connections are closed at once."""
        self.answered = threading.Event()
        """Set when a client was sent something; a test clears it."""
        self.refused = 0
        """How many were closed."""
        self.delay = 0.0
        """Seconds by which everything comes later, in both directions."""
        self.cut = threading.Event()
        """Set when an answer was swallowed and its connection cut."""

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._flowing.set()
        self._listener.close()
        for end in self._open:
            _close(end)

    def stall(self) -> None:
        """Pass nothing on that clients send, until `flow`."""
        self.stalled.clear()
        self._flowing.clear()

    def refuse(self) -> None:
        """Close every connection, and those to come as long as `refusing` is true."""
        self.refusing = True
        for end in self._open:
            _close(end)

    @property
    def flowing(self) -> bool:
        """Whether everything is passed on."""
        return self._flowing.is_set()

    def flow(self) -> None:
        """Pass everything on again."""
        self._flowing.set()

    def swallow_commit_after(self, marker: str) -> None:
        """Cut the next connection that commits what it said after `marker`: after the commit, and
        before its answer."""
        self._marker = marker.encode()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.refusing:
                    client.close()
                    self.refused += 1
                    continue
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except OSError:  # it is down
                    client.close()
                    continue
                self._open += [client, server]
                doomed = threading.Event()
                for step in (self._upstream, self._downstream):
                    threading.Thread(
                        target=step, args=(client, server, doomed), daemon=True
                    ).start()

    def _upstream(
        self, client: socket.socket, server: socket.socket, doomed: threading.Event
    ) -> None:
        marked = False
        with contextlib.suppress(OSError):
            while chunk := client.recv(CHUNK):
                if not self._flowing.is_set():
                    self.stalled.set()
                    self._flowing.wait()
                time.sleep(self.delay)
                marked = marked or (self._marker is not None and self._marker in chunk)
                if marked and b"COMMIT" in chunk:
                    self._marker = None
                    doomed.set()
                server.sendall(chunk)
        _close(server)

    def _downstream(
        self, client: socket.socket, server: socket.socket, doomed: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := server.recv(CHUNK):
                if doomed.is_set():  # the server has answered, so it has committed
                    self.cut.set()
                    break
                time.sleep(self.delay)
                client.sendall(chunk)
                self.answered.set()
        _close(client)
        _close(server)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
