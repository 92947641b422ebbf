import ast
import itertools
import operator
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from docs import generate
from docs.generate import ANNEAL_FORMULAS, TRAIN_FLOPS_FORMULAS
from rigl_core.flops import TRAIN_FLOPS
from rigl_core.schedules import ANNEALS
from studies.cli import app
from studies.spec import StudySpec
from studies.spec_file import load_spec

ROOT = Path(__file__).parents[2]


def command_paths(command: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    inner = getattr(command, "commands", {})
    return [path, *(p for name, c in inner.items() for p in command_paths(c, (*path, name)))]


def test_generated_pages_are_up_to_date(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["docs.generate", "--check"])

    assert (generate.main(), capsys.readouterr().err) == (0, "")


@pytest.mark.parametrize("path", command_paths(get_command(app)), ids=" ".join)
def test_every_command_has_its_section(path: tuple[str, ...]) -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")

    assert f"# {' '.join(('rigl-study', *path))}\n\n```text\nUsage: rigl-study" in page


def blocks(page: str, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def test_the_readmes_study_is_valid(tmp_path: Path) -> None:
    (text,) = blocks("README.md", "toml")
    (tmp_path / "my-question.toml").write_text(text, encoding="utf-8")
    spec = load_spec(str(tmp_path / "my-question.toml"))
    assert [plan.name for plan in spec.plans()] == [
        f"my-question/rigl-s{sparsity}-{distribution}" for sparsity in (0.8, 0.9) for distribution in ("uniform", "erk")
    ]
    config = spec.plans()[0].base_config
    assert (config.epochs, config.lr_drop_every, config.augmentation) == (250, 30_000, "crop_flip")


def test_the_page_on_the_report_names_campaigns_as_they_are(tmp_path: Path) -> None:
    page = "docs/reproducing.md"
    (reinit,) = blocks(page, "toml")
    (tmp_path / "reinit.toml").write_text(reinit, encoding="utf-8")
    key, source = load_spec(str(tmp_path / "reinit.toml")).pending or ("", None)
    assert (key, source and source.trial) == ("distribution", 3)
    plans = {plan.name: plan for plan in load_spec("cifar10-wrn-methods").plans()}
    plan = plans[source.study if source else ""]
    assert (plan.tickets()[3]["method"], plan.pair["sparsity"], plan.pair["distribution"]) == ("rigl", 0.9, "erk")
    *_, shorter = [
        _spec_of(words) for words in re.findall(r"^rigl-study run (.*)$", "\n".join(blocks(page, "")), re.MULTILINE)
    ]
    assert {plan.base_config.n_epochs for plan in shorter.plans()} == {10}


def _spec_of(words: str) -> StudySpec:
    """What `rigl-study run WORDS` would run."""
    name, *rest = words.split("#")[0].split()
    return load_spec(name, [value for option, value in itertools.pairwise(rest) if option == "--set"])


@pytest.mark.parametrize(
    "page",
    [
        *("README.md", "docs/operating.md", "docs/clusters.md", "docs/containers.md", "docs/how-it-works.md"),
        *("docs/reproducing.md", "docs/extending.md", "docs/results.md", "CONTRIBUTING.md"),
    ],
)
def test_pages_name_only_commands_files_and_targets_that_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    commands = {path[:1] for path in command_paths(get_command(app))}
    for word in re.findall(
        r"rigl-study ([a-z]+)\b", "\n".join(blocks(page, "")) + "".join(re.findall(r"`[^`]*`", text))
    ):
        assert (word,) in commands, word
    for target in re.findall(r"^make ([a-z]+)|`make ([a-z]+)", text, re.MULTILINE):
        assert re.search(rf"^{target[0] or target[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / page).parent / link).exists(), link
    for path in re.findall(r"`((?:rigl_core|studies|workers|tests|docs)/[\w/.]*\w)`", text):
        assert (ROOT / path).exists(), path


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
            assert value == pytest.approx(TRAIN_FLOPS[name](f_s, f_d, 7, 1)), name


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
