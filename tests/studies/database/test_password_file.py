"""The password of the database in a file: what is taken, what is refused, and that any character works."""

import string
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa

from studies.database.password_file import PASSWORD_FILE_VARIABLE, read_password
from studies.database.storage_url import StorageUrl
from studies.errors import StorageUrlError
from studies.storage import resolve_storage

CANARY = "hunter2canary"
PRINTABLE = "".join(map(chr, range(32, 127)))


@pytest.fixture
def password_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "password"
    path.write_text(CANARY + "\n")
    monkeypatch.setenv(PASSWORD_FILE_VARIABLE, str(path))
    return path


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
@pytest.mark.parametrize("password", ["x", PRINTABLE, " a ", "Zürich, 東京", "100%{d}"])
def test_the_content_is_the_password(tmp_path: Path, password: str, ending: str) -> None:
    (tmp_path / "password").write_bytes((password + ending).encode())

    assert read_password(tmp_path / "password") == password


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (f"{CANARY}\n\n".encode(), "line break"),
        (f"{CANARY}\nmore\n".encode(), "line break"),
        (f"{CANARY}\0".encode(), "control character"),
        (CANARY.encode() + b"\xff", "UTF-8"),
    ],
)
def test_other_content_is_refused_and_not_shown(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "password").write_bytes(content)

    with pytest.raises(StorageUrlError, match=reason) as caught:
        read_password(tmp_path / "password")

    assert str(tmp_path / "password") in str(caught.value)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("name", ["missing", "."])
def test_what_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageUrlError, match="cannot be read"):
        read_password(tmp_path / name)


@pytest.mark.parametrize(
    ("given", "completed"),
    [
        ("postgresql://ann@db/study", f"postgresql+psycopg2://ann:{CANARY}@db/study"),
        ("postgresql://a%40b@db:5433/study", f"postgresql+psycopg2://a%40b:{CANARY}@db:5433/study"),
        ("postgresql://ann@db/study?sslrootcert=/a%40b", f"postgresql+psycopg2://ann:{CANARY}@db/study?sslrootcert=/a%40b"),
        ("postgresql://ann:own@db/study", "postgresql+psycopg2://ann:own@db/study"),
        ("postgresql://ann:@db/study", "postgresql+psycopg2://ann:@db/study"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("password_file")
def test_a_url_without_a_password_gets_it(given: str, completed: str) -> None:
    url = resolve_storage(given)

    assert url.secret() == completed
    assert CANARY not in str(url) + repr(url)
    assert ":***@" in str(url)


@pytest.mark.usefixtures("password_file")
def test_a_url_without_a_user_is_refused() -> None:
    with pytest.raises(StorageUrlError, match="names no user"):
        resolve_storage("postgresql://db/study")


def test_storages_without_passwords_do_not_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_FILE_VARIABLE, str(tmp_path / "missing"))

    assert resolve_storage(f"sqlite:///{tmp_path}/study.db").kind == "sqlite"


def test_every_printable_character_opens_the_door(
    password_file: Path, postgres_url: StorageUrl, opened: Callable[..., Any]
) -> None:
    server = sa.make_url(postgres_url.secret())
    password = string.printable.strip() + " {0} %20 \\n ü€"
    role = f"role_{server.database}"
    admin = psycopg2.connect(**server.translate_connect_args(username="user", database="dbname"))
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD %s", [password])
    try:
        password_file.write_text(password + "\n")
        storage = opened(resolve_storage(f"postgresql://{role}@{server.host}:{server.port}/{server.database}"))
        assert storage.get_all_studies() == []
        storage.close()
    finally:
        with admin.cursor() as cursor:
            cursor.execute(f"REASSIGN OWNED BY {role} TO CURRENT_USER")
            cursor.execute(f"DROP OWNED BY {role}")
            cursor.execute(f"DROP ROLE {role}")
        admin.close()


def test_a_bad_file_is_one_line_and_exit_code_2(password_file: Path) -> None:
    password_file.write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "studies", "list", "--storage", "postgresql://ann@db/study"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"rigl-study: the password file {password_file}")
