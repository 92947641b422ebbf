"""Connections are told from those that no living process holds."""

import os
import socket
import subprocess
import sys

from benchmarks.chaos.samples import ports_of

HOLDER = """
import socket, sys
held = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print(held.getsockname()[1], flush=True)
sys.stdin.read()
"""


def test_a_connection_is_of_the_process_that_holds_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-c", HOLDER, str(server.getsockname()[1])]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            port = int(holder.stdout.readline())
            accepted, _ = server.accept()
            with accepted:
                assert port in ports_of([holder.pid, os.getpid()])
                assert port not in ports_of([os.getpid()]), "the other end's"
                holder.communicate()
                assert port not in ports_of([holder.pid, os.getpid()])
