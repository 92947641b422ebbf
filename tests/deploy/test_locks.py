"""The lock files of the images: whole, of the project's own versions, and written by `make lock`."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "deploy" / "locks"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
NEEDED = {
    "cli": PROJECT["project"]["dependencies"] + EXTRAS["dashboard"],
    "train": EXTRAS["train"],
    "build": PROJECT["build-system"]["requires"],
}


def requirements(name: str) -> list[tuple[Requirement, list[str]]]:
    """Each requirement of a lock file with its hashes."""
    found = []
    for block in re.findall(r"^[^\s#].*\n(?:    .*\n)*", (LOCKS / f"{name}.txt").read_text(), re.MULTILINE):
        head, *hashes = block.replace("\\\n", "\n").splitlines()
        found.append((Requirement(head), [text.strip() for text in hashes]))
    return found


def names(name: str) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement, _ in requirements(name)}


@pytest.mark.parametrize("name", ["cli", "train", "cuda", "torch-cpu", "build"])
def test_every_package_has_one_version_and_a_hash_for_each_of_its_files(name: str) -> None:
    for requirement, hashes in requirements(name):
        assert re.fullmatch(r"==[\w.+!]+", str(requirement.specifier)), requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", text) for text in hashes), requirement


@pytest.mark.parametrize("name", NEEDED)
def test_all_that_the_project_asks_for_is_there_in_a_version_that_fits(name: str) -> None:
    locked = {canonicalize_name(requirement.name): requirement for requirement, _ in requirements(name)}
    for needed in map(Requirement, NEEDED[name]):
        (version,) = locked[canonicalize_name(needed.name)].specifier
        assert needed.specifier.contains(version.version), needed


def test_the_versions_are_those_of_the_constraints() -> None:
    """A change of constraints.txt without `make lock` would be no change of the images."""
    constraints = map(Requirement, (ROOT / "constraints.txt").read_text().split())
    pinned = {canonicalize_name(requirement.name): requirement.specifier for requirement in constraints}
    for name in ("cli", "train"):
        for requirement, _ in requirements(name):
            wanted = pinned.get(canonicalize_name(requirement.name), requirement.specifier)
            assert requirement.specifier == wanted, f"{requirement}: run make lock"
    ((torch_for_cpu, _),) = requirements("torch-cpu")
    assert str(torch_for_cpu.specifier) == f"{pinned['torch']}+cpu", "kept by hand in make_locks.py"


def test_each_package_is_in_one_file() -> None:
    assert not names("cli") & names("train")
    assert not (names("cli") | names("train")) & names("cuda")
    assert "torch" in names("train"), "and not in the image without it"
    assert all(name.startswith(("nvidia-", "cuda-", "triton")) for name in names("cuda"))


def test_the_images_install_nothing_without_a_hash_but_from_an_index_of_ones_own() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    installs = [line.strip() for line in dockerfile.splitlines() if re.search(r"(pip|python|\$install) .*-r ", line)]
    installs += [line.strip() for line in dockerfile.splitlines() if line.strip().startswith("$install")]
    unchecked = [line for line in installs if "$LOCKED" not in line]
    assert len(installs) - len(unchecked) >= 5
    assert [line for line in unchecked if "-c constraints.txt torch torchvision" not in line] == []
    assert 'LOCKED="--require-hashes --no-deps --only-binary=:all:"' in dockerfile


FAKE_UV = """#!{python}
import sys
asked = open(sys.argv[-1]).read()
for name in ["optuna", "bottle"] + (["torch", "nvidia-cublas", "triton"] if "torch" in asked else []):
    local = "+cpu" if name == "torch" and any(text.startswith("--index") for text in sys.argv) else ""
    version = "2.13.0" if name == "torch" else "1.0"
    print(f"{{name}}=={{version}}{{local}} \\\\\\n    --hash=sha256:{{len(name):064x}}")
"""


def make(folder: Path, *arguments: str) -> dict[str, list[str]]:
    """What the script writes with a resolver of the test's own: the requirements of each file."""
    uv = folder / "uv"
    uv.write_text(FAKE_UV.format(python=sys.executable))
    uv.chmod(0o755)
    spec = importlib.util.spec_from_file_location("make_locks", LOCKS / "make_locks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.HERE = folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["make_locks.py", "--uv", str(uv), *arguments])
        module.main()
    return {path.name: heads(path.read_text().splitlines()) for path in folder.glob("*.txt")}


def heads(lines: Iterable[str]) -> list[str]:
    return [line.removesuffix(" \\") for line in lines if line[:1] not in ("#", " ")]


def test_packages_are_sorted_into_the_files(tmp_path: Path) -> None:
    written = make(tmp_path)
    assert written == {
        "cli.txt": ["optuna==1.0", "bottle==1.0"],
        "train.txt": ["torch==2.13.0"],
        "cuda.txt": ["nvidia-cublas==1.0", "triton==1.0"],
        "torch-cpu.txt": ["torch==2.13.0+cpu ; sys_platform == 'linux' and platform_machine == 'x86_64'"],
        "build.txt": ["optuna==1.0", "bottle==1.0"],
    }


def test_the_pytorch_of_another_index_gets_a_file_of_its_own(tmp_path: Path) -> None:
    written = make(tmp_path, "--torch-index", "https://example.org/whl/cpu")
    assert written["torch-index.txt"] == ["torch==2.13.0+cpu", "nvidia-cublas==1.0", "triton==1.0"]
    assert written["train.txt"] == ["torch==2.13.0"]


def test_a_resolver_that_fails_writes_nothing(tmp_path: Path) -> None:
    command = [sys.executable, LOCKS / "make_locks.py", "--uv", "false"]
    before = {path: path.read_bytes() for path in LOCKS.iterdir() if path.is_file()}
    assert subprocess.run(command, capture_output=True, check=False, cwd=tmp_path).returncode != 0
    assert {path: path.read_bytes() for path in LOCKS.iterdir() if path.is_file()} == before
