"""The command line without PyTorch, as in the image `cli`: what it can still do, and what it says of the rest."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SPEC = """
name = "tiny"
[fixed]
dataset = "digits"
epochs = 1
[search]
lr = [0.1]
[strategy]
sampler = "grid"
seeds = [0]
"""
CIFAR_OR_DIGITS = ["--set", "fixed.dataset=cifar10", "--fallback-dataset", "digits"]
WITHOUT_TORCH = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
from studies.cli import app
app()
"""


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RIGL_STUDY_STORAGE", "sqlite:///study.db")
    monkeypatch.setenv("RIGL_STUDY_DATA", str(tmp_path / "no data"))
    Path("tiny.toml").write_text(SPEC)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["work"], "training"),
        (["work", "--workers", "auto"], "training"),
        (["run", "tiny.toml"], "training"),
        (["train", "--dataset", "digits"], "training"),
        (["data", "fetch", "digits"], "reading a data set"),
        (["create", "tiny.toml", *CIFAR_OR_DIGITS], "downloading cifar10"),
    ],
)
def test_what_needs_torch_says_so_in_one_line(arguments: list[str], what: str) -> None:
    before = sorted(Path().rglob("*"))
    done = run(*arguments)

    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"rigl-study: {what} needs PyTorch, which is not installed; run: pip install")
    assert "rigl-study[train]" in line
    assert sorted(Path().rglob("*")) == before


def test_all_else_works(tmp_path: Path) -> None:
    created = run("create", "tiny.toml")
    assert (created.returncode, created.stdout) == (0, "tiny\n"), created.stderr
    status = run("status", "tiny", "--json")
    assert json.loads(status.stdout)["studies"][0]["waiting"] == 1
    report = run("report", "tiny", "--out", "report")
    assert report.returncode == 0, report.stderr
    assert Path("report/report.html").exists()
    for arguments in (["storage", "init"], ["data", "list"], ["catalogue", "list"], ["delete", "tiny", "--yes"]):
        assert run(*arguments).returncode == 0, arguments
