"""Run the benchmarks of training and print their tables: `python -m benchmarks`."""

import platform
import subprocess

import torch

from benchmarks import status, topology_step


def main() -> None:
    """Say where this is, then measure."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    print(
        f"commit {commit.stdout.strip() or 'unknown'}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{platform.machine()}, {torch.get_num_threads()} threads\n"
    )
    topology_step.main()
    print()
    status.main()


if __name__ == "__main__":
    main()
