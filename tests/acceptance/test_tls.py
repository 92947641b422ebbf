"""TLS to a Postgres server with a certificate of its own that takes nothing else, and what is refused."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest

from studies.database.keeper import identity
from tests.forked import Command

PASSWORD = "s3cr3t"
SPEC = """
name = "tiny"
[fixed]
dataset = "digits"
epochs = 1
sparsity = 0.5
[strategy]
n_trials = 1
seeds = [0]
"""


@dataclass(frozen=True)
class Server:
    folder: Path
    port: int

    def url(self, options: str, host: str = "localhost") -> str:
        return f"postgresql://tls:{PASSWORD}@{host}:{self.port}/postgres?{options}"


def certificate(folder: Path, name: str) -> Path:
    """A self-signed certificate for "localhost", and its key beside it."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", f"{folder / name}.key", "-out", f"{folder / name}.pem"]
    subprocess.run(command, check=True, capture_output=True)
    return folder / f"{name}.pem"


@pytest.fixture(scope="module")
def server(open_directory: Path, wait_until: Callable[..., bool], keep_port: Callable[[], int]) -> Iterator[Server]:
    """Postgres with `ssl = on`, and connections without TLS refused by its pg_hba.conf."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not programs or shutil.which("openssl") is None:
        pytest.skip("no Postgres server with TLS here (the embedded one has none), or no openssl")
    bin_directory, user = programs[-1].parent, "nobody" if os.geteuid() == 0 else None
    folder = open_directory / f"tls {uuid4().hex[:8]}"
    folder.mkdir()
    certificate(folder, "server")
    certificate(folder, "other")
    (folder / "password").write_text(PASSWORD)
    data = folder / "data"
    data.mkdir(mode=0o700)
    if user is not None:
        for path in (data, folder / "password", folder / "server.key"):
            shutil.chown(path, user)
    (folder / "server.key").chmod(0o600)
    initdb = [bin_directory / "initdb", "-D", data, "-U", "tls", f"--pwfile={folder / 'password'}", "--no-sync"]
    subprocess.run([*initdb, "--auth=scram-sha-256"], check=True, capture_output=True, cwd="/", **identity(user))
    (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
    found = Server(folder, keep_port())
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(found.port),
        "unix_socket_directories": "",
        "fsync": "off",
        "ssl": "on",
        "ssl_cert_file": str(folder / "server.pem"),
        "ssl_key_file": str(folder / "server.key"),
    }
    command = [str(bin_directory / "postgres"), "-D", str(data)]
    command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd="/", stdout=log, stderr=log, **identity(user))

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            psycopg2.connect(found.url("sslmode=require")).close()
        except psycopg2.OperationalError:
            return False
        return True

    assert wait_until(answers)
    yield found
    process.terminate()
    process.wait(60)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, storage: str) -> "subprocess.CompletedProcess[str]":
    return Command(*arguments, variables={"RIGL_STUDY_STORAGE": storage, "RIGL_STUDY_PATIENCE": "60"}).finish()


def test_everything_works_over_tls(server: Server) -> None:
    url = server.url(f"sslmode=verify-full&sslrootcert={str(server.folder / 'server.pem').replace(' ', '%20')}")
    Path("tiny.toml").write_text(SPEC)
    for command in (
        ["storage", "init"],
        ["create", "tiny.toml"],
        ["work", "--checkpoints", "checkpoints"],
        ["storage", "backup", "backup"],
        ["storage", "restore", "backup", "--replace"],
        ["status", "tiny"],
    ):
        done = run(*command, storage=url)
        assert done.returncode == 0, f"{command}: {done.stderr}"
    assert "tiny: complete" in done.stdout
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert cursor.fetchone() == (True,)


REFUSED = {
    "another root certificate": ("sslmode=verify-full&sslrootcert={other}", "localhost", "certificate verify failed"),
    "no root certificate": ("sslmode=verify-full&sslrootcert=/missing.pem", "localhost", "does not exist"),
    "another host name": ("sslmode=verify-full&sslrootcert={server}", "127.0.0.1", "does not match host name"),
    "no TLS": ("sslmode=disable", "localhost", "no pg_hba.conf entry"),
}


@pytest.mark.parametrize("command", ["list", "create"])
@pytest.mark.parametrize(("options", "host", "told"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_safe_is_refused_at_once(server: Server, options: str, host: str, told: str, command: str) -> None:
    Path("tiny.toml").write_text(SPEC)
    files = {name: str(server.folder / f"{name}.pem").replace(" ", "%20") for name in ("server", "other")}
    arguments = ["create", "tiny.toml"] if command == "create" else ["list"]
    done = run(*arguments, storage=server.url(options.format(**files), host))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "refused: " in done.stderr, "and not waited for"
    assert told in done.stderr
    assert PASSWORD not in done.stderr
