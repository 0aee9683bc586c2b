"""A wire between a driver and its database that can be cut, at a moment that a restart hits only by chance."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Proxy:
    """Passes bytes on to a port of this machine. `cut_after` is what is passed on to the server before the wire is cut.

    With `ghost` the server is not told: for it the connection goes on.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut_after: bytes | None = None
        self.ghost = False
        self.cuts = 0
        self._threads: list[threading.Thread] = []
        self._ends: list[socket.socket] = []
        self._start(self._accept)

    def close(self) -> None:
        """Take no more connections; those that there are go on."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def end(self) -> None:
        """Close everything."""
        self.close()
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in self._ends:
            end.close()

    def _start(self, work, *arguments) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._ends.append(client)
                server = socket.create_connection(("127.0.0.1", self._target))
                self._ends.append(server)
                self._start(self._to_server, client, server)
                self._start(_pass_on, server, client)

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        cut = False
        with suppress(OSError):
            while not cut and (data := client.recv(65536)):
                cut = self.cut_after is not None and self.cut_after in data
                if cut:  # the client hears nothing any more; the server gets the whole message
                    self.cut_after = None
                    client.shutdown(socket.SHUT_RDWR)
                    self.cuts += 1
                server.sendall(data)
            if not (cut and self.ghost):
                server.shutdown(socket.SHUT_WR)


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
