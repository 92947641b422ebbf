"""Docker and Compose as the tests of docker-compose.yml drive them."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parents[2]
T = TypeVar("T")


class Compose:
    """`docker compose` on a project of the test's own, without the settings of whoever runs it."""

    def __init__(self, project: str, *, files: tuple[str, ...] = ("docker-compose.yml",), **settings: str) -> None:
        self.project = project
        self.files = [f"--file={ROOT / file}" for file in files]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("COMPOSE_", "RIGL_STUDY_"))}
        self.environment = {**kept, "COMPOSE_PROGRESS": "plain", "NO_COLOR": "1", **settings}

    def __call__(self, *arguments: str, timeout: float = 300, check: bool = True, **settings: str) -> str:
        command = ["docker", "compose", "--env-file", os.devnull, *self.files]
        done = subprocess.run(
            [*command, "--project-name", self.project, *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={**self.environment, **settings},
        )
        assert not check or done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def containers(self, service: str) -> list[str]:
        """The ids of its running containers."""
        return self("ps", "--quiet", service).split()

    def status(self) -> dict[str, Any]:
        """What `rigl-study status` says, in a container that runs anyway."""
        told: dict[str, Any] = json.loads(self("exec", "-T", "dashboard", "rigl-study", "status", "survive", "--json"))
        return told

    def cli(self, *arguments: str, options: tuple[str, ...] = ()) -> str:
        return self("run", "--rm", "-T", *options, "cli", *arguments)


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=60, check=True).stdout


def logs(container: str) -> str:
    done = subprocess.run(["docker", "logs", container], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout + done.stderr


def inspect(container: str) -> Any:
    return json.loads(docker("inspect", container))[0]


def wait_until(condition: Callable[[], T], what: str, seconds: float = 240) -> T:
    """What the condition gives when that is true at last."""
    deadline = time.monotonic() + seconds
    while not (given := condition()):
        assert time.monotonic() < deadline, f"in {seconds:.0f} s it did not happen: {what}"
        time.sleep(0.5)
    return given


def why_not_here() -> str | None:
    """Why no service can be started on this machine; None if one can."""
    if shutil.which("docker") is None:
        return "no Docker on this machine"
    for command, lacking in ((["info"], "no Docker engine answers"), (["compose", "version"], "no Docker Compose")):
        try:
            subprocess.run(["docker", *command], capture_output=True, timeout=30, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return lacking
    return None


def why_no_images() -> str | None:
    """Which public image there is no way to; None if both are here or can be pulled."""
    for image in ("python:3.11-slim-bookworm", "postgres:16"):
        here = subprocess.run(["docker", "image", "inspect", image], capture_output=True, timeout=60, check=False)
        if here.returncode:
            pulled = subprocess.run(["docker", "pull", image], capture_output=True, text=True, timeout=600, check=False)
            if pulled.returncode:
                return f"the image {image} is not here and cannot be pulled: {pulled.stderr.strip()}"
    return None
