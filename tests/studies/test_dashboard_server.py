"""The dashboard's web server: clients that say nothing, or go away, keep nobody else out."""

import socket
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIServer

import pytest

from studies import dashboard_server
from tests.held import LONG

ANSWER = b"an answer " * 100_000


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [ANSWER]


@pytest.fixture
def server() -> Iterator[WSGIServer]:
    server = dashboard_server.listen("127.0.0.1", 0, application)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(server: WSGIServer) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/", timeout=LONG) as answer:
        read: bytes = answer.read()
        return read


def test_who_opens_a_connection_and_says_nothing_keeps_nobody_out(server: WSGIServer) -> None:
    with socket.create_connection(server.server_address), socket.create_connection(server.server_address):
        assert ask(server) == ANSWER


def test_who_says_nothing_for_long_is_hung_up_on(
    server: WSGIServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dashboard_server._Handler, "timeout", 0.05)
    with socket.create_connection(server.server_address, timeout=LONG) as silent:
        assert silent.recv(1) == b"", "the end"
    assert capfd.readouterr().err == ""


def test_who_goes_away_in_the_middle_leaves_no_traceback(server: WSGIServer, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(server.server_address) as hasty:
        hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # its end is a reset
        hasty.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert ask(server) == ANSWER
    assert capfd.readouterr().err == ""
