"""The service `secrets` of docker-compose.yml, run as it is run there."""

import subprocess
import sys
from pathlib import Path

import pytest

from studies.database.password_file import read_password

SCRIPT = Path(__file__).parents[2] / "deploy/compose/make_password.py"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own"
    path.touch()
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "volume").mkdir()
    return tmp_path / "volume/password"


def make(own: Path, target: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, SCRIPT, own, target], capture_output=True, text=True, check=False)


def test_a_random_password_is_made_once(own: Path, target: Path) -> None:
    assert make(own, target).returncode == 0
    password = read_password(target)
    assert len(password) >= 32
    assert target.stat().st_mode & 0o777 == 0o444, "postgres and workers are other users"

    assert make(own, target).returncode == 0
    assert read_password(target) == password
    assert list(target.parent.iterdir()) == [target]

    target.unlink()
    assert make(own, target).returncode == 0
    assert read_password(target) != password


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_ones_own_is_taken(own: Path, target: Path, ending: str) -> None:
    password = "".join(map(chr, range(32, 127))) + "é"
    own.write_bytes((password + ending).encode())

    done = make(own, target)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert read_password(target) == password
    assert make(own, target).returncode == 0, "the same again is no change"


@pytest.mark.parametrize(
    ("content", "told"), [(b"canary\nmore\n", "single line"), (b"canary\xff", "UTF-8"), (None, "No such file")]
)
def test_a_bad_one_is_refused_and_not_shown(own: Path, target: Path, content: bytes | None, told: str) -> None:
    own.unlink() if content is None else own.write_bytes(content)

    done = make(own, target)

    assert done.returncode == 1
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert "canary" not in done.stderr
    assert not target.exists()


def test_another_one_than_the_databases_is_refused(own: Path, target: Path) -> None:
    make(own, target)
    before = target.read_text()
    own.write_text("canary")

    done = make(own, target)

    assert done.returncode == 1
    assert "docs/containers.md" in done.stderr
    assert "canary" not in done.stderr
    assert target.read_text() == before
