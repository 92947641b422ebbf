import shlex
import subprocess
import sys
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from rigl_core.config import TrainConfig
from studies.cli import app
from studies.commands import train as cli_train


def walk(command: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    inner = getattr(command, "commands", {})
    return {path: command} | {p: c for name, i in inner.items() for p, c in walk(i, (*path, name)).items()}


COMMANDS = walk(get_command(app))
HEAVY = (
    "torch",
    "torchvision",
    "optuna",
    "sqlalchemy",
    "pandas",
    "numpy",
    "matplotlib",
    "scipy",
    "rich",
    "studies.spec",
)
# Not pydantic: Typer itself converts option values with it.


def test_the_commands_are_those_of_the_issue() -> None:
    leaves = {" ".join(path) for path, command in COMMANDS.items() if not hasattr(command, "commands")}

    assert leaves == {
        *(
            "create",
            "work",
            "run",
            "status",
            "report",
            "best",
            "list",
            "show",
            "stop",
            "pause",
            "resume",
            "retry",
            "delete",
        ),
        *(
            "health",
            "dashboard",
            "launch slurm",
            "train",
            "catalogue list",
            "catalogue show",
            "data list",
            "data fetch",
        ),
        *("storage start", "storage stop", "storage url", "storage wait", "storage status"),
        *("storage init", "storage upgrade", "storage backup", "storage restore"),
    }


def test_no_help_loads_a_heavy_package() -> None:
    script = f"""
import sys
from studies.cli import app
for path in {[list(path) for path in COMMANDS]!r}:
    try:
        app([*path, "--help"])
    except SystemExit as end:
        assert end.code == 0, path
print("loaded:", *(name for name in {HEAVY!r} if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "loaded:"


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_ends_in_an_example_that_this_command_would_accept(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"])

    assert (shown.exit_code, shown.stderr) == (0, "")
    *_, examples = shown.stdout.rpartition("\n  Example:\n")
    assert examples.strip()
    for example in examples.splitlines():
        program, *words = shlex.split(example.partition(">")[0])
        assert program == "rigl-study"
        used = next(words[:n] for n in range(len(words), -1, -1) if tuple(words[:n]) in COMMANDS)
        assert used == [*path] or hasattr(COMMANDS[path], "commands"), "the example shows another command"
        with COMMANDS[tuple(used)].make_context("rigl-study", words[len(used) :]):
            pass  # parsed: every option and argument is one it takes


def test_a_command_line_without_a_command_shows_the_help_and_is_refused() -> None:
    shown = CliRunner().invoke(app, [])

    assert shown.exit_code == 2
    assert shown.stdout == ""
    assert "Commands:" in shown.stderr


def test_version() -> None:
    shown = CliRunner().invoke(app, ["--version"])

    assert shown.exit_code == 0
    assert shown.stdout.startswith("rigl-study ")


def test_train_says_the_defaults_that_it_has() -> None:
    config = TrainConfig()

    for key, default in cli_train.DEFAULTS.items():
        if key != "epochs":
            assert getattr(config, key) == default
