"""Every option, argument, URL and variable that is a path is read in one way, and refused before anything begins."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from studies.cli import app
from studies.commands import options
from studies.database.resolving import resolve_storage
from studies.database.retrying import patience_from_environment
from studies.errors import BadInput, StorageUrlError

SPEC = """name = "t"
[fixed]
dataset = "digits"
epochs = 1
sparsity = 0.9
distribution = "erk"
[search]
lr = [0.1]
[strategy]
sampler = "grid"
seeds = [0]
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in which nothing may be made, and a home folder beside it."""
    (tmp_path / "here").mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments)


def paths_of(group: typer.Typer, name: str = "") -> Iterator[tuple[str, object]]:
    """Every parameter that is a path, and what reads it."""
    for command in group.registered_commands:
        assert command.callback is not None
        for parameter, hint in get_type_hints(command.callback, include_extras=True).items():
            if Path in (get_args(hint) and {get_args(hint)[0], *get_args(get_args(hint)[0])}):
                yield f"{name}{command.name} {parameter}", get_args(hint)[1].parser
    for below in group.registered_groups:
        assert below.typer_instance is not None
        yield from paths_of(below.typer_instance, f"{name}{below.name} ")


def test_every_parameter_that_is_a_path_has_one_of_the_parsers() -> None:
    """Typer's own paths do not know what ~ is."""
    found = dict(paths_of(app))
    assert [name for name, parser in found.items() if parser not in options.PATHS] == []
    assert {"work checkpoints", "train checkpoint", "storage backup file", "launch slurm folder"} <= set(found)


def test_a_tilde_is_expanded_from_the_spec_to_the_backup(home: Path) -> None:
    (home / "s.toml").write_text(SPEC)
    storage = "--storage=sqlite:///~/x.db"
    done = invoke("create", "~/s.toml", storage, "--checkpoints=~/ck")
    assert (done.exit_code, done.stdout) == (0, "t\n"), done.stderr
    assert (home / "x.db").is_file()
    done = invoke("storage", "backup", "~/backup", storage)
    assert done.exit_code == 0, done.stderr
    assert (home / "backup").is_file()
    done = invoke("report", "t", storage, "--out=~/report")
    assert done.exit_code == 0, done.stderr
    assert (home / "report/report.html").is_file()
    done = invoke("report", "--from=~/report/trials.csv", "--out=~/again")
    assert done.exit_code == 0, done.stderr
    assert sorted(path.name for path in home.iterdir()) == ["again", "backup", "report", "s.toml", "x.db", "x.db.lock"]
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["work", "--checkpoints", "~/file"], '"~/file" is not a folder'),
        (["work", "--checkpoints", "~/file/below"], "lies below"),
        (["work", "--data-dir", "~/file"], '"~/file" is not a folder'),
        (["work", "--health-file", "~"], '"~" is a folder'),
        (["work", "--checkpoints", ""], "the path is empty"),
        (["work", "--checkpoints", "~nobody knows/x"], "no such home folder"),
        (["data", "fetch", "digits", "--data-dir", "~/file"], '"~/file" is not a folder'),
        (["train", "--checkpoint", "~"], '"~" is a folder'),
        (["train", "--checkpoint", "~/file/x"], "lies below"),
        (["run", "fashion-lenet-smoke", "--out", "~/file"], '"~/file" is not a folder'),
        (["report", "t", "--out", "~/file"], '"~/file" is not a folder'),
        (["report", "t", "--attach", "--artifacts", "~/file"], '"~/file" is not a folder'),
        (["dashboard", "--artifacts", "~/file"], '"~/file" is not a folder'),
        (["storage", "backup", "~"], '"~" is a folder'),
        (["storage", "restore", "~"], '"~" is a folder'),
        (["launch", "slurm", "--workers", "1", "--folder", "~/file/below"], "lies below"),
        (["list", "--storage", "sqlite:///~"], "that is a folder"),
        (["list", "--storage", "sqlite:///~/file/x.db"], "there is no folder"),
        (["list", "--storage", "sqlite:///~/file"], "that is no database of SQLite"),
        (["list", "--storage", "postgresql://a@db/x?sslmode=maybe"], 'invalid sslmode value: "maybe"'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_in_the_way_is_refused_in_one_line(arguments: list[str], told: str, home: Path) -> None:
    (home / "file").write_text("of somebody else")
    done = invoke(*arguments)
    assert (done.exit_code, done.stdout) == (2, ""), done.output
    (line,) = done.stderr.splitlines()
    assert told in line
    assert [path.name for path in home.iterdir()] == ["file"]
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("name", ["HOME", "CHECKPOINTS", "ARTIFACTS"])
def test_a_variable_that_is_a_folder(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def folder() -> Path:
        return {"ARTIFACTS": options.artifact_folder}.get(name, options.checkpoint_folder)(None)

    monkeypatch.setenv(f"RIGL_STUDY_{name}", "~/mine")
    assert folder() == home / ("mine/checkpoints" if name == "HOME" else "mine")
    (home / "mine").touch()
    with pytest.raises(BadInput, match=f'^RIGL_STUDY_{name}: "~/mine" is not a folder'):
        folder()
    monkeypatch.setenv(f"RIGL_STUDY_{name}", "")
    with pytest.raises(BadInput, match=f"^RIGL_STUDY_{name} is set and empty"):
        folder()


def test_an_empty_storage_is_not_the_embedded_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGL_STUDY_STORAGE", "")
    done = invoke("list")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("rigl-study: RIGL_STUDY_STORAGE is set and empty; give it a value, or unset it.")


def test_the_other_variables_are_not_empty_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGL_STUDY_PATIENCE", "")
    with pytest.raises(BadInput, match="RIGL_STUDY_PATIENCE is set and empty"):
        patience_from_environment()
    monkeypatch.setenv("RIGL_STUDY_STORAGE_PASSWORD_FILE", "")
    with pytest.raises(BadInput, match="RIGL_STUDY_STORAGE_PASSWORD_FILE is set and empty"):
        resolve_storage("postgresql://ann@db/x")


def test_the_password_file_may_be_at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGL_STUDY_STORAGE_PASSWORD_FILE", "~/password")
    with pytest.raises(StorageUrlError, match=f"{home}/password .*cannot be read"):
        resolve_storage("postgresql://ann@db/x")
    (home / "password").write_text("hush\n")
    assert resolve_storage("postgresql://ann@db/x").secret() == "postgresql+psycopg2://ann:hush@db/x"
