"""A web server for Optuna's dashboard that no single client can hold up; standard library only."""

import contextlib
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import WSGIApplication

from studies.dashboard_guard import OWN_ADDRESS, Guard, Host

SILENT_SECONDS = 60.0
"""After so long a client that says nothing is hung up on: browsers open connections that they may never use."""


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a connection, so that one client cannot keep all others out."""

    daemon_threads = True


class _Handler(WSGIRequestHandler):
    """Writes no line for each request, nor for a client that is gone or says nothing."""

    timeout = SILENT_SECONDS

    def handle(self) -> None:
        """Answer one request."""
        with contextlib.suppress(TimeoutError, ConnectionError):
            super().handle()

    def get_environ(self) -> dict[str, Any]:
        """With the address at which the connection arrived: that of the machine where it listens on all."""
        return {**super().get_environ(), OWN_ADDRESS: self.connection.getsockname()[0]}

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def listen(host: str, port: int, application: WSGIApplication, allowed: Iterable[Host] = ()) -> WSGIServer:
    """A server that has its port, and answers once `serve_forever` is called: only to its own hosts, see `Guard`.

    Arguments:
        host: the address to listen on.
        port: of TCP; 0 for any that is free.
        application: what answers.
        allowed: further hosts that it answers to.

    Raises:
        OSError: the address cannot be listened on.
        UnicodeError: it is no name of a host.
    """
    guarded = Guard(application, host, allowed)
    return make_server(host, port, guarded, server_class=_Server, handler_class=_Handler)
