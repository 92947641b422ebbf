"""Options that several commands share."""

from pathlib import Path

import pytest

from studies.commands.options import checkpoint_folder, chosen_campaigns


def test_where_checkpoints_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGL_STUDY_HOME", str(tmp_path / "home"))
    assert checkpoint_folder(None) == tmp_path / "home/checkpoints"

    monkeypatch.setenv("RIGL_STUDY_CHECKPOINTS", str(tmp_path / "shared"))
    assert checkpoint_folder(None) == tmp_path / "shared"
    assert checkpoint_folder(tmp_path / "mine") == tmp_path / "mine"


def test_campaigns_are_named_in_two_ways() -> None:
    assert chosen_campaigns(None, None) == []
    assert chosen_campaigns(["b", "a"], ["b", "c"]) == ["b", "a", "c"]
