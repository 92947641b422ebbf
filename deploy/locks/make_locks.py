"""Write the lock files beside this script: every package of the images, with the SHA-256 of each of its files.

`make lock` runs it, with uv. The versions are those of constraints.txt; what is not there is the newest that fits.

    cli.txt     all that the image `cli` has, which the image `worker` has, too
    train.txt   PyTorch and what it needs on a CPU
    cuda.txt    what the PyTorch of PyPI needs on a GPU
    torch-cpu.txt   a PyTorch for the CPU, which is not on PyPI and is taken where pip finds it in a folder
    build.txt   what the project itself is built with
    torch-index.txt   as train.txt and cuda.txt, with the PyTorch of --torch-index (only if that is given)
"""

import argparse
import re
import subprocess
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CUDA = re.compile(r"(nvidia|cuda|triton)\b")
TORCH_CPU = """torch==2.13.0+cpu ; sys_platform == 'linux' and platform_machine == 'x86_64' \\
    --hash=sha256:6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b
"""
"""Of the wheel for Python 3.11; not of PyPI, so it is kept here by hand, with the version of constraints.txt."""
HEADER = "# Written by `make lock`; not to be edited. Install with: pip install --require-hashes --no-deps -r FILE\n"


def compiled(uv: str, requirements: list[str], *options: str) -> dict[str, str]:
    """The requirements with all that they need: for each package its lines of a lock file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.in"
        file.write_text("\n".join(requirements))
        command = [uv, "pip", "compile", "--quiet", "--no-config", "--universal", "--python-version=3.11"]
        command += ["--generate-hashes", "--no-header", "--no-annotate", f"--constraint={ROOT / 'constraints.txt'}"]
        told = subprocess.run([*command, *options, file], check=True, stdout=subprocess.PIPE, text=True).stdout
    blocks = re.findall(r"^[^\s#].*\n(?:    .*\n)*", told, re.MULTILINE)
    return {block.partition(" \\")[0]: block for block in blocks}


def write(name: str, blocks: dict[str, str]) -> None:
    """One lock file."""
    (HERE / name).write_text(HEADER + "".join(blocks.values()))


def main() -> None:
    """Write them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uv", default="uv", help="the program")
    parser.add_argument("--torch-index", help="one of PyTorch's own indexes; see TORCH_INDEX_URL in .env.example")
    arguments = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    cli, train = project["project"]["dependencies"] + extras["dashboard"], extras["train"]

    worker = compiled(arguments.uv, cli + train)
    # Of the same versions in both, whatever the resolver would choose for the command line alone.
    names = {re.split(r"[=\s]", line)[0] for line in compiled(arguments.uv, cli)}
    of_cli = {line: block for line, block in worker.items() if re.split(r"[=\s]", line)[0] in names}
    rest = {line: block for line, block in worker.items() if line not in of_cli}
    write("cli.txt", of_cli)
    write("train.txt", {line: block for line, block in rest.items() if not CUDA.match(line)})
    write("cuda.txt", {line: block for line, block in rest.items() if CUDA.match(line)})
    write("torch-cpu.txt", {"torch": TORCH_CPU})
    write("build.txt", compiled(arguments.uv, project["build-system"]["requires"]))
    if arguments.torch_index:
        # PyTorch's index comes first, and a package that it has comes from there alone.
        own = compiled(arguments.uv, cli + train, f"--index={arguments.torch_index}")
        write("torch-index.txt", {line: block for line, block in own.items() if line not in of_cli})


if __name__ == "__main__":
    main()
