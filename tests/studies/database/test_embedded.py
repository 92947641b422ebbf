"""The embedded server's life: first use, adoption, the last client, crashes of every part, and where root keeps it."""

import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
import sqlalchemy as sa

from studies.database import embedded_files
from studies.database.embedded import EmbeddedPostgres
from studies.database.file_locks import can_be_shared
from studies.database.storage_url import StorageUrl
from studies.errors import BadInput, StorageError

WaitUntil = Callable[..., bool]
IsAlive = Callable[[int], bool]
Client = Callable[..., "subprocess.Popen[str]"]

IS_ROOT = os.geteuid() == 0

CLIENT = """
import sys
from pathlib import Path
from studies.database.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), fsync=False)
print(server.ensure_running().secret(), server.status().keeper_pid, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def client() -> Iterator[Client]:
    """Starts processes that use the server of a home until their stdin ends."""
    processes: list[subprocess.Popen[str]] = []

    def start(home: Path, prefix: Sequence[str] = (), **options: object) -> "subprocess.Popen[str]":
        pipe = subprocess.PIPE
        command = [*prefix, sys.executable, "-W", "error", "-c", CLIENT, str(home)]
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, **options)  # type: ignore[call-overload]
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def told(process: "subprocess.Popen[str]") -> tuple[str, int]:
    """The URL and the keeper's pid, as a client sees them."""
    assert process.stdout is not None
    url, keeper = process.stdout.readline().split()
    return url, int(keeper)


def ask(url: StorageUrl | str, statement: str) -> list[tuple[object, ...]]:
    parsed = sa.make_url(url if isinstance(url, str) else url.secret())
    parameters = parsed.translate_connect_args(username="user", database="dbname")
    with closing(psycopg2.connect(**parameters)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


def postmaster(server: EmbeddedPostgres) -> int:
    return int((server.status().data / "postmaster.pid").read_text().splitlines()[0])


def keeper_of(server: EmbeddedPostgres) -> int:
    keeper = server.status().keeper_pid
    assert keeper is not None
    return keeper


def test_first_use_makes_a_server_that_only_we_can_use(home: Path) -> None:
    server = EmbeddedPostgres(home, fsync=False)
    url = server.ensure_running()
    assert ask(url, "SELECT current_database(), current_user") == [("rigl_study", "rigl")]
    assert ask(url, "SHOW server_version")[0][0].split(".")[0] == "16"  # type: ignore[attr-defined]
    assert ask(url, "SHOW listen_addresses") == [("127.0.0.1",)]
    assert ask(url, "SHOW unix_socket_directories") == [("",)]
    assert ask(url, "SHOW server_encoding") == [("UTF8",)]

    password = sa.make_url(url.secret()).password
    assert password is not None
    assert len(password) >= 43  # 32 random bytes
    [secret] = [path for path in (home / "server").rglob("password*") if path.is_file()]
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert secret.read_text() == password
    for pid in (keeper_of(server), postmaster(server)):
        shown = subprocess.run(["ps", "eww", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
        assert "postgres" in shown
        assert password not in shown
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        ask(sa.make_url(url.secret()).set(password="guess").render_as_string(hide_password=False), "SELECT 1")


def test_fsync_is_on_unless_a_test_says_otherwise(home: Path) -> None:
    assert ask(EmbeddedPostgres(home).ensure_running(), "SHOW fsync") == [("on",)]


def test_the_next_process_adopts_the_server(home: Path, client: Client) -> None:
    server = EmbeddedPostgres(home, fsync=False)
    url = server.ensure_running()
    assert told(client(home)) == (url.secret(), keeper_of(server))
    assert server.ensure_running() == url


def test_eight_first_starts_at_once_make_one_server(home: Path, client: Client) -> None:
    processes = [client(home) for _ in range(8)]
    assert len({told(process) for process in processes}) == 1


def test_it_goes_with_its_last_client_even_if_that_is_killed(
    home: Path, client: Client, wait_until: WaitUntil, is_alive: IsAlive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIGL_STUDY_LINGER", "0.2")
    first, second = client(home), client(home)
    url, keeper = told(first)
    told(second)
    server = EmbeddedPostgres(home)
    pid = postmaster(server)
    first.communicate("done\n")
    assert not wait_until(lambda: not is_alive(pid), seconds=0.6)  # one is left
    assert ask(url, "SELECT 1") == [(1,)]
    second.kill()
    assert wait_until(lambda: not is_alive(keeper))
    assert not is_alive(pid)
    assert not server.status().running


def test_a_client_that_comes_while_it_lingers_keeps_it(
    home: Path, client: Client, wait_until: WaitUntil, is_alive: IsAlive, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EmbeddedPostgres(home, fsync=False)
    for linger in (1, 5, 25):
        monkeypatch.setenv("RIGL_STUDY_LINGER", str(linger))
        first = client(home)
        _, keeper = told(first)
        first.communicate("done\n")
        server.ensure_running()
        if keeper_of(server) == keeper:
            break
        server.stop()  # this came too late, on a machine that stood still
    assert not wait_until(lambda: not is_alive(keeper), seconds=linger + 0.5)


def test_who_wants_it_stopped_waits_while_the_keeper_stops_it(
    home: Path, wait_until: WaitUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIGL_STUDY_LINGER", "0")
    server = EmbeddedPostgres(home, fsync=False)
    server.ensure_running()
    pid = postmaster(server)
    os.kill(pid, signal.SIGSTOP)  # it takes its time
    server.release()
    assert wait_until(lambda: not can_be_shared(home / "server" / "clients.lock"))
    goes_on = threading.Timer(2.0, os.kill, (pid, signal.SIGCONT))
    goes_on.start()
    server.stop()
    assert not server.status().running
    goes_on.join()


def test_pinned_it_stays_until_it_is_stopped(
    home: Path, wait_until: WaitUntil, is_alive: IsAlive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIGL_STUDY_LINGER", "0.1")
    server = EmbeddedPostgres(home, fsync=False)
    server.start()
    keeper = keeper_of(server)
    server.release()
    assert not wait_until(lambda: not is_alive(keeper), seconds=0.6)
    assert server.status().pinned
    assert server.stop()
    assert not server.status().running
    assert not server.status().pinned
    assert not server.stop()


def test_it_is_not_stopped_under_others_but_loses_its_pin(
    home: Path, client: Client, wait_until: WaitUntil, is_alive: IsAlive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIGL_STUDY_LINGER", "0.1")
    server = EmbeddedPostgres(home, fsync=False)
    server.start()
    keeper = keeper_of(server)
    other = client(home)
    told(other)
    with pytest.raises(StorageError, match="other processes"):
        server.stop()
    assert server.status().running
    other.communicate("done\n")
    assert wait_until(lambda: not is_alive(keeper))


def test_status_starts_nothing(home: Path) -> None:
    server = EmbeddedPostgres(home)
    status = server.status()
    assert (status.running, status.url, status.keeper_pid, status.pinned, status.size) == (False, None, None, False, 0)
    url = EmbeddedPostgres(home, fsync=False).ensure_running()
    status = server.status()
    assert status.running
    assert status.url == url
    assert status.size > 10_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_the_server_goes_with_a_killed_keeper(home: Path, wait_until: WaitUntil, is_alive: IsAlive) -> None:
    server = EmbeddedPostgres(home, fsync=False)
    url = server.ensure_running()
    ask(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    pid = postmaster(server)
    os.kill(keeper_of(server), signal.SIGKILL)
    again = server.ensure_running()  # waits for the old one to go, then starts a new one
    assert ask(again, "SELECT answer FROM kept") == [(42,)]
    assert wait_until(lambda: not is_alive(pid))
    assert postmaster(server) != pid


def test_a_killed_server_recovers_with_its_data(home: Path, wait_until: WaitUntil, is_alive: IsAlive) -> None:
    server = EmbeddedPostgres(home)  # with fsync: this is about not losing anything
    url = server.ensure_running()
    ask(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    keeper = keeper_of(server)
    os.kill(postmaster(server), signal.SIGKILL)
    assert wait_until(lambda: not is_alive(keeper))
    assert server.ensure_running() == url
    assert ask(url, "SELECT answer FROM kept") == [(42,)]


def test_a_stale_pid_file_whose_pid_is_somebody_elses_by_now(home: Path) -> None:
    server = EmbeddedPostgres(home, fsync=False)
    server.ensure_running()
    data = server.status().data
    lines = (data / "postmaster.pid").read_text().splitlines()
    server.stop()
    command = ["sleep", "60"]
    user = {"user": "nobody"} if IS_ROOT else {}  # the same user: Postgres would think it is itself
    with subprocess.Popen(command, **user) as bystander:  # type: ignore[call-overload]
        (data / "postmaster.pid").write_text("\n".join([str(bystander.pid), *lines[1:]]) + "\n")
        assert ask(server.ensure_running(), "SELECT 1") == [(1,)]
        bystander.kill()


def test_another_port_if_the_last_one_was_taken_meanwhile(home: Path) -> None:
    server = EmbeddedPostgres(home, fsync=False)
    port = sa.make_url(server.ensure_running().secret()).port
    server.stop()
    with socket.create_server(("127.0.0.1", port or 0)):
        url = server.ensure_running()
        assert sa.make_url(url.secret()).port != port
        assert ask(url, "SELECT 1") == [(1,)]


def test_a_server_that_cannot_start_tells_why(home: Path) -> None:
    server = EmbeddedPostgres(home, fsync=False)
    server.ensure_running()
    server.stop()
    (home / "server" / "data" / "postgresql.conf").write_text("max_connections = many\n")
    with pytest.raises(StorageError, match=r"does not start: .*max_connections"):
        server.ensure_running()


def test_a_home_shared_with_another_machine(home: Path) -> None:
    server = EmbeddedPostgres(home, fsync=False)
    server.ensure_running()
    state = home / "server" / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "host": "elsewhere"}))
    with pytest.raises(StorageError, match="runs on elsewhere"):
        server.ensure_running()


@pytest.mark.parametrize("text", ["soon", "-1", "inf"])
def test_linger_must_be_seconds(home: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("RIGL_STUDY_LINGER", text)
    with pytest.raises(BadInput, match="RIGL_STUDY_LINGER"):
        EmbeddedPostgres(home, fsync=False).ensure_running()


def become(user: pwd.struct_passwd) -> list[str]:
    """The command that runs another as `user`.

    Where the interpreter itself lies in root's closed home, the user may read what root can; it changes nothing else.
    """
    if (setpriv := shutil.which("setpriv")) is None:
        pytest.skip("needs setpriv")
    command = [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    if not embedded_files._others_may_enter(Path(sys.executable).resolve().parent):
        command += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return command


@pytest.mark.skipif(not IS_ROOT, reason="the other tests are about ordinary users already")
def test_an_ordinary_user_needs_no_root(client: Client, wait_until: WaitUntil, is_alive: IsAlive) -> None:
    if not embedded_files._others_may_enter(embedded_files.package_directory()):
        pytest.skip("Postgres' programs lie in root's closed home: no ordinary user could run this installation")
    user = pwd.getpwnam("daemon")
    home = Path(tempfile.mkdtemp(prefix="rigl-study-"))
    os.chown(home, user.pw_uid, user.pw_gid)
    environment = {"HOME": str(home), "PATH": os.defpath, "RIGL_STUDY_LINGER": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        process = client(home / "my home", prefix=become(user), env=environment, cwd="/")
        url, keeper = told(process)
        assert ask(url, "SELECT 1") == [(1,)]
        assert Path(f"/proc/{keeper}").stat().st_uid == user.pw_uid
        assert (home / "my home").stat().st_mode & 0o077 == 0
        process.communicate("done\n")
        assert wait_until(lambda: not is_alive(keeper))
    finally:
        shutil.rmtree(home)


def test_the_module_is_light_for_commands_that_only_ask() -> None:
    code = (
        "import sys, studies.database.embedded; sys.exit(any(m in sys.modules for m in ('optuna', 'torch', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
