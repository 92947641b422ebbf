"""Which pg_dump is taken, and that its password is where nobody sees it."""

import json
import os
import string
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from studies.database import postgres_tools
from studies.database.postgres_tools import find_tool, run_tool
from studies.database.storage_url import StorageUrl
from studies.errors import BadInput, StorageError

PASSWORD = f"cAnArY{string.punctuation} é"
TOOL = """#!{python}
import json, os, sys
if sys.argv[1:] == ["--version"]:
    print("pg_dump (PostgreSQL) {version}")
    sys.exit()
path = os.environ.get("PGPASSFILE")
passwords = open(path, encoding="utf-8").read() if path else None
mode = oct(os.stat(path).st_mode & 0o777) if path else None
told = {{"argv": sys.argv[1:], "environ": dict(os.environ), "passwords": passwords, "mode": mode}}
open("told", "w").write(json.dumps(told))
sys.exit({code})
"""


@pytest.fixture(autouse=True)
def _only_these(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other programs than those that a test makes."""
    monkeypatch.chdir(tmp_path)

    def none() -> Path:
        raise StorageError("not installed")

    monkeypatch.setattr(postgres_tools, "package_directory", none)
    monkeypatch.setattr(postgres_tools, "DEBIAN", tmp_path / "postgresql")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def tool(folder: Path, version: str, code: str = "0") -> Path:
    folder.mkdir(parents=True)
    path = folder / "pg_dump"
    path.write_text(TOOL.format(python=sys.executable, version=version, code=code))
    path.chmod(0o755)
    return path


def test_the_password_is_in_a_file_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(tmp_path / "bin", "16.4")
    url = StorageUrl.parse(f"postgresql://ann:{quote(PASSWORD, safe='')}@db:5433/study?sslmode=require")
    monkeypatch.setenv("RIGL_STUDY_STORAGE", url.secret())
    run_tool("pg_dump", ["--file=x"], url, 16)
    told = json.loads(Path("told").read_text())
    escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
    assert told["passwords"] == f"*:*:*:*:{escaped}\n"
    assert told["mode"] == "0o600"
    assert "cAnArY" not in json.dumps([told["argv"], told["environ"]])
    assert told["argv"][:2] == ["--file=x", "--no-password"]
    assert set(told["argv"][2].removeprefix("--dbname=").split()) >= {
        *("host=db", "port=5433", "user=ann", "dbname=study", "sslmode=require")
    }
    assert not [name for name in os.listdir() if name not in ("bin", "told", "rigl-study-home")]


def test_without_a_password_libpq_looks_where_it_always_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(tmp_path / "bin", "16.4")
    monkeypatch.setenv("PGPASSFILE", "/dev/null")
    run_tool("pg_dump", [], StorageUrl.parse("postgresql://ann@db/study"), 16)
    assert json.loads(Path("told").read_text())["environ"]["PGPASSFILE"] == "/dev/null"


def test_the_version_that_fits_best(tmp_path: Path) -> None:
    fourteen = tool(tmp_path / "bin", "14.1 (Debian 14.1-1)")
    sixteen = tool(tmp_path / "postgresql" / "16" / "bin", "16.4")
    seventeen = tool(tmp_path / "postgresql" / "17" / "bin", "17beta1")
    assert [find_tool("pg_dump", version) for version in (13, 14, 15, 16, 17)] == [
        *(fourteen, fourteen, sixteen, sixteen, seventeen)
    ]
    with pytest.raises(StorageError, match=r"the server is Postgres 18, .* of version 17 it is too old"):
        find_tool("pg_dump", 18)


def test_none_at_all() -> None:
    with pytest.raises(StorageError, match=r"which is not there. Install it \(on Debian: .*postgresql-client-16\)"):
        find_tool("pg_dump", 16)


def test_one_that_fails_is_quoted_in_one_line(tmp_path: Path) -> None:
    code = "print('pg_dump: last\\npg_dump: error: no such table\\nHINT: none', file=sys.stderr) or 1"
    tool(tmp_path / "bin", "16.4", code)
    with pytest.raises(StorageError, match=r"^pg_dump of Postgres failed on postgresql://db/study: no such table.$"):
        run_tool("pg_dump", [], StorageUrl.parse("postgresql://db/study"), 16)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://ann:a%0Ab@db/study", "has a line break"),
        ("postgresql://ann:s3cr3t@db/study?sslpassword=s3cr3t", "sslpassword"),
    ],
)
def test_what_cannot_be_handed_over_is_refused(url: str, told: str, tmp_path: Path) -> None:
    tool(tmp_path / "bin", "16.4")
    with pytest.raises(BadInput, match=told) as caught:
        run_tool("pg_dump", [], StorageUrl.parse(url), 16)
    assert "s3cr3t" not in str(caught.value)
    assert not Path("told").exists()
