from pathlib import Path

import pytest

from studies.whole_file import replacing


def test_it_is_there_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with replacing(path) as new:
        new.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def fail(new: Path) -> None:
    new.write_text("half")
    raise KeyboardInterrupt


def test_what_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as new:
        fail(new)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
