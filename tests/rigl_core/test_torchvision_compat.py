"""In fresh interpreters: what torchvision does on import depends on what was imported before."""

import importlib
import subprocess
import sys

import pytest

from rigl_core import torchvision_compat


def run(program):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.split()


def test_gives_the_datasets_without_warnings_and_twice():
    assert run(
        "from rigl_core.torchvision_compat import import_torchvision_datasets as get\n"
        "print(get() is get(), get().__name__, get().CIFAR10.__name__)\n"
        "import torchvision.transforms, torch; torch.ops.torchvision.nms, torch.ops.torchvision.qnms"
    ) == ["True", "torchvision.datasets", "CIFAR10"]


def test_operators_that_are_there_are_not_defined_again():
    schema = torchvision_compat._OPERATORS["nms"]
    assert run(
        "import torch\n"
        "mine = torch.library.Library('torchvision', 'FRAGMENT')\n"
        f"mine.define({schema!r})\n"
        "from rigl_core.torchvision_compat import import_torchvision_datasets\n"
        "print(import_torchvision_datasets().__name__)"
    ) == ["torchvision.datasets"]


def test_nothing_is_defined_where_torchvision_imports_by_itself(monkeypatch):
    given = object()
    monkeypatch.setattr(importlib, "import_module", lambda name: given)
    monkeypatch.setattr(torchvision_compat, "_define_missing_operators", lambda: pytest.fail("defined"))
    assert torchvision_compat.import_torchvision_datasets() is given


def test_other_failures_of_the_import_are_not_hidden(monkeypatch):
    def fail(name):
        raise RuntimeError("compiled with different CUDA major versions")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(RuntimeError, match="CUDA major versions"):
        torchvision_compat.import_torchvision_datasets()
