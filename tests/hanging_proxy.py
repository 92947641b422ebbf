"""A proxy in front of a server that hangs when a test says so: it takes what it is sent, and passes no answer on."""

import contextlib
import socket
import threading
from types import TracebackType

import sqlalchemy as sa

from studies.database.storage_url import StorageUrl


class HangingProxy:
    """Passes everything on, both ways, until `hang`. A connection that has hung never answers again.

    Arguments:
        url: the Postgres server behind it, reached over TCP.
    """

    def __init__(self, url: StorageUrl) -> None:
        target = sa.make_url(url.secret())
        assert target.host is not None
        self._target = (target.host, target.port or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = StorageUrl.parse(target.set(host="127.0.0.1", port=port).render_as_string(hide_password=False))
        self._hanging = threading.Event()
        self._pieces = threading.Semaphore(0)
        self._piecemeal = False
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def hang(self) -> None:
        """Answer nothing from now on, on no connection, and on new ones neither."""
        self._hanging.set()

    def recover(self) -> None:
        """Answer on connections that are made from now on."""
        self._hanging.clear()

    def answer_in_pieces(self) -> None:
        """Pass on what the server answers a few bytes at a time, each time that `pass_piece` is called."""
        self._piecemeal = True

    def pass_piece(self) -> None:
        """One piece more."""
        self._pieces.release()

    def __enter__(self) -> "HangingProxy":
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for end in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._pieces.release(1_000_000)
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._sockets):
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            for work, arguments in ((self._ask, (client, server)), (self._answer, (server, client))):
                thread = threading.Thread(target=work, args=arguments)
                self._threads.append(thread)
                thread.start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := client.recv(65536):
                server.sendall(content)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        hangs = False
        with contextlib.suppress(OSError):
            while content := server.recv(4 if self._piecemeal else 65536):
                hangs = hangs or self._hanging.is_set()
                if self._piecemeal:
                    self._pieces.acquire()
                if not hangs:
                    client.sendall(content)
        if not hangs:  # what hangs keeps its connections open, too
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
