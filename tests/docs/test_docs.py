import ast
import operator
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from docs.generate import ANNEAL_FORMULAS, TRAIN_FLOPS_FORMULAS
from rigl_core.flops import TRAIN_FLOPS
from rigl_core.schedules import ANNEALS
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


def test_the_formulas_on_the_methods_page_are_those_of_the_code() -> None:
    assert set(TRAIN_FLOPS_FORMULAS) == set(TRAIN_FLOPS)
    assert set(ANNEAL_FORMULAS) == set(ANNEALS)
    for name, formula in TRAIN_FLOPS_FORMULAS.items():
        code = formula.replace("ΔT", "* 7")
        for number in ("2", "3"):
            code = code.replace(f"{number} f", f"{number} * f")
        code = code.replace("f_S * 7", "f_S * 7").replace("(* 7 + 1)", "(7 + 1)")
        for f_s, f_d in ((0.25, 1.0), (3.0, 10.0)):
            value = _arithmetic(code.replace("f_S", str(f_s)).replace("f_D", str(f_d)))
            assert value == pytest.approx(TRAIN_FLOPS[name](f_s, f_d, 7)), name


def _arithmetic(text: str) -> float:
    """The value of an expression of numbers, + * / and brackets."""

    def value(node: ast.AST) -> float:
        if isinstance(node, ast.Expression):
            return value(node.body)
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return node.value
        assert isinstance(node, ast.BinOp)
        operation = {ast.Add: operator.add, ast.Mult: operator.mul, ast.Div: operator.truediv}[type(node.op)]
        return operation(value(node.left), value(node.right))

    return value(ast.parse(text, mode="eval"))
