"""Paths as users write them: the home folder, what is in the way, and variables that are empty."""

import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from rigl_core.errors import BadInput
from rigl_core.paths import folder_variable, user_file, user_folder, user_path, variable


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


READERS = (user_path, user_folder, user_file)


@pytest.mark.parametrize("read", READERS)
def test_a_tilde_is_the_home_folder(read: Callable[[str | Path], Path], home: Path) -> None:
    assert read("~/a/b") == read(Path("~/a/b")) == home / "a/b"
    owner = pwd.getpwuid(0)
    assert read(f"~{owner.pw_name}/a") == Path(owner.pw_dir, "a")
    assert read("a/~") == Path("a/~"), "only at the beginning"
    assert read("/a b/c") == Path("/a b/c")


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("text", "reason"), [("", "empty"), (" ", "empty"), ("~nobody known/x", "begins with ~nobody")]
)
def test_what_is_no_path_is_refused(read: Callable[[str], Path], text: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        read(text)


def test_a_folder_is_none_yet_or_a_folder(home: Path) -> None:
    (home / "file").touch()
    (home / "to nowhere").symlink_to(home / "gone")
    assert user_folder("~") == home
    assert user_folder("~/new/deeper") == home / "new/deeper"
    with pytest.raises(BadInput, match=r'^"~/file" is not a folder'):
        user_folder("~/file")
    with pytest.raises(BadInput, match=rf'^"~/file/deep/er" lies below {home}/file, which is not a folder'):
        user_folder("~/file/deep/er")
    with pytest.raises(BadInput, match=r'^"~/to nowhere" is not a folder'):
        user_folder("~/to nowhere")


def test_a_relative_folder_is_looked_at_where_the_process_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    (home / "file").touch()
    assert user_folder("new/deeper") == Path("new/deeper")
    with pytest.raises(BadInput, match=r"file/deeper.* lies below .*file, which is not a folder"):
        user_folder("file/deeper")


def test_a_file_is_no_folder(home: Path) -> None:
    assert user_file("~/new") == home / "new"
    with pytest.raises(BadInput, match=r'^"~" is a folder; name a file'):
        user_file("~")
    (home / "file").touch()
    assert user_file("~/file") == home / "file"
    with pytest.raises(BadInput, match=rf'^"~/file/x" lies below {home}/file, which is not a folder'):
        user_file("~/file/x")


def test_a_variable_is_not_set_or_holds_something(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert variable("RIGL_STUDY_OF_TEST") is folder_variable("RIGL_STUDY_OF_TEST") is None
    monkeypatch.setenv("RIGL_STUDY_OF_TEST", "~/x")
    assert variable("RIGL_STUDY_OF_TEST") == "~/x"
    assert folder_variable("RIGL_STUDY_OF_TEST") == home / "x"
    (home / "x").touch()
    with pytest.raises(BadInput, match=r'^RIGL_STUDY_OF_TEST: "~/x" is not a folder'):
        folder_variable("RIGL_STUDY_OF_TEST")
    for empty in ("", "  "):
        monkeypatch.setenv("RIGL_STUDY_OF_TEST", empty)
        for read in (variable, folder_variable):
            with pytest.raises(BadInput, match=r"^RIGL_STUDY_OF_TEST is set and empty"):
                read("RIGL_STUDY_OF_TEST")
