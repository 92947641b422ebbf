"""A password with every printable character works everywhere, and is seen nowhere."""

import json
import string
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import psycopg2
import pytest
from psycopg2 import sql

from studies.database.embedded import EmbeddedPostgres
from studies.database.storage_url import StorageUrl
from tests.forked import Command
from tests.held import wait_until

PRINTABLE = string.digits + string.ascii_letters + string.punctuation + " "
CANARIES = ("cAnArY7391", "kAnArI8264")  # a part of it is as bad as the whole
PASSWORD = f"{CANARIES[0]}{PRINTABLE}é€{CANARIES[1]}"

SPEC = """
name = "tiny"
[fixed]
dataset = "digits"
epochs = 1
sparsity = 0.5
[search]
lr = [0.05, 0.1]
[strategy]
sampler = "grid"
seeds = [0]
"""


@dataclass
class Watched:
    """Commands whose every word is kept, and whose processes are looked at while they run."""

    url: str
    said: dict[str, str] = field(default_factory=dict)
    processes: set[str] = field(default_factory=set)

    def run(self, *arguments: str, storage: str | None = None, code: int | None = 0, **variables: str) -> str:
        process = Command(*arguments, variables={"RIGL_STUDY_STORAGE": storage or self.url, **variables})
        ended = threading.Event()
        watch = threading.Thread(target=self._watch, args=[process.pid, ended])
        watch.start()
        done = process.finish()
        ended.set()
        watch.join()
        text = done.stdout + done.stderr
        self.said[f"{len(self.said)}: {' '.join(arguments)}"] = text
        if code is not None:
            assert done.returncode == code, f"{arguments}: {done.stderr}"
        return text

    def resume_when_workers_were_seen(self) -> None:
        wait_until(lambda: any("workers\0" in text for text in list(self.processes)))
        self.run("resume", "tiny")

    def _watch(self, pid: int, ended: threading.Event) -> None:
        """Command lines of all that runs below `pid`, itself included, and environments of all but itself."""
        while not ended.wait(0.02):
            for process in _descendants(pid):
                try:
                    line = Path(f"/proc/{process}/cmdline").read_text()
                    self.processes.add(line)
                    # We gave the URL to itself, which a child still is that was forked and has not begun its program.
                    if process != pid and line != Path(f"/proc/{pid}/cmdline").read_text():
                        self.processes.add(Path(f"/proc/{process}/environ").read_text())
                except OSError:  # it has just ended
                    continue


def _descendants(pid: int) -> list[int]:
    found = [pid]
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [child for task in tasks for child in (task / "children").read_text().split()]
    except OSError:  # it, or one of its threads, has just ended
        return found
    for child in children:
        found += _descendants(int(child))
    return found


def seen_in(text: str | bytes) -> bool:
    content = text if isinstance(text, bytes) else text.encode(errors="surrogateescape")
    return any(canary.encode() in content for canary in CANARIES)


@pytest.fixture
def watched(
    postgres_server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Watched, str]]:
    """The runner, and the name of the role and of two databases: that name, and with "_2" behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RIGL_STUDY_PATIENCE", "0")
    secret = StorageUrl.parse(postgres_server.ensure_running().secret())
    name = f"secrets_{uuid4().hex[:8]}"
    role = sql.Identifier(name)
    port = secret.secret().rpartition(":")[2].partition("/")[0]
    with closing(psycopg2.connect(secret.revealed())) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(PASSWORD)))
            for database in (name, f"{name}_2"):
                cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), role))
            yield Watched(f"postgresql://{name}:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/{name}"), name
            for database in (name, f"{name}_2"):
                cursor.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))
            cursor.execute(sql.SQL("DROP ROLE {}").format(role))


def rows(url: str) -> str:
    """Every row of every table, as text."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = [table for (table,) in cursor.fetchall()]
        assert "study_user_attributes" in tables
        found = []
        for table in tables:
            cursor.execute(sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(table)))
            found += [row for (row,) in cursor.fetchall()]
    return "\n".join(found)


@pytest.mark.timeout(900)  # it is about forty commands
def test_the_password_works_everywhere_and_is_seen_nowhere(
    watched: tuple[Watched, str], postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    it, name = watched
    Path("tiny.toml").write_text(SPEC)
    second = f"{it.url}_2"

    # All that can be done with it, and it works.
    it.run("storage", "init")
    it.run("create", "tiny.toml")
    it.run("pause", "tiny")  # so that the workers are there until they were looked at, however quick they are
    goes_on = threading.Thread(target=it.resume_when_workers_were_seen)
    goes_on.start()
    it.run("work", "--workers", "2", "--log-format", "json", "--health-file", "health", "--checkpoints", "checkpoints")
    goes_on.join()
    assert json.loads(it.run("status", "tiny", "--json"))["studies"][0]["complete"] == 2
    it.run("list")
    it.run("--debug", "show", "tiny", "rigl-s0.5-erk/0")
    it.run("report", "tiny", "--out", "report")
    it.run("storage", "url")
    it.run("storage", "upgrade")
    it.run("storage", "backup", "backup")
    it.run("storage", "restore", "backup", code=2)
    it.run("storage", "restore", "backup", storage=second)
    it.run("list", storage=f"postgresql://{name}@{it.url.rpartition('@')[2]}", code=1)
    Path("password").write_text(PASSWORD)
    without = f"postgresql://{name}@{it.url.rpartition('@')[2]}"
    it.run("list", storage=without, RIGL_STUDY_STORAGE_PASSWORD_FILE="password")
    Path("password").unlink()

    # All that can go wrong with it.
    login, _, where = it.url.rpartition("@")
    for storage in (
        f"{login}@127.0.0.1:1/{name}",
        f"{login}@nowhere.invalid/{name}",
        f"{it.url}_3",
        f"{it.url}?sslmode=require",
        it.url.replace(quote(PASSWORD, safe=""), f"{CANARIES[0]}wrong{CANARIES[1]}"),
    ):
        it.run("--debug", "create", "tiny.toml", storage=storage, code=1)
        it.run("storage", "backup", "backup", storage=storage, code=1)
    it.run("work", "--log-format", "json", storage=f"{it.url}_3", code=1)
    it.run("status", storage=f"{it.url}_3", code=1)
    for storage in (
        f"postgresql://{name}:{PASSWORD}@{where}",
        f"postgresql://{name}:{CANARIES[0]}#{CANARIES[1]}@{where}",
        f"postgresql://{name}:{CANARIES[0]}@{CANARIES[1]}@{where}",
        f"postgresql://{name}:{CANARIES[0]}%zz{CANARIES[1]}@{where}",
        f"mysql://{name}:{quote(PASSWORD, safe='')}@{where}",
        f"{name}:{CANARIES[0]}@{where}",
    ):
        it.run("--debug", "status", storage=storage, code=2)

    leaks = [command for command, text in it.said.items() if seen_in(text)]
    leaks += [str(path) for path in tmp_path.rglob("*") if path.is_file() and seen_in(path.read_bytes())]
    leaks += [text.replace("\0", " ") for text in it.processes if seen_in(text)]
    assert leaks == []
    assert any("workers\0" in text for text in it.processes), "the workers were looked at"
    assert not seen_in(rows(it.url)), "in the database"
    assert not seen_in(rows(second)), "in a restored one"
    assert not any(seen_in(log.read_bytes()) for log in postgres_server.home.rglob("postgres.log"))
