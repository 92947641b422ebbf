import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from studies.cli import app

ROOT = Path(__file__).parents[2]


def command_paths(command: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    inner = getattr(command, "commands", {})
    return [path, *(p for name, c in inner.items() for p in command_paths(c, (*path, name)))]


def test_generated_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "docs.generate", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.parametrize("path", command_paths(get_command(app)), ids=" ".join)
def test_every_command_has_its_section(path: tuple[str, ...]) -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")

    assert f"# {' '.join(('rigl-study', *path))}\n\n```text\nUsage: rigl-study" in page
