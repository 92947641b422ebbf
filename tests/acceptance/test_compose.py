"""docker-compose.yml from `build` to `down`: workers that crash, a database that goes away, and intruders who look.

One test, because one service is built and started for all of it.
"""

import http.client
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.acceptance.chromium import ARGUMENTS, BROWSER, PATIENCE, needs_browser
from tests.acceptance.compose_project import (
    ROOT,
    Compose,
    docker,
    inspect,
    logs,
    wait_until,
    why_no_images,
    why_not_here,
)

N_TRIALS = 9
SPEC = f"""
name = "survive"
[fixed]
dataset = "digits"
epochs = 300
delta_t = 10
[pairs]
sparsity = 0.9
distribution = "erk"
[search]
lr = {[round(0.02 * (n + 1), 2) for n in range(N_TRIALS)]}
[strategy]
sampler = "grid"
seeds = [0]
"""
STUDY = "rigl-s0.9-erk"
BEGINS = re.compile(r"trial (\d+) begins \(attempt (\d)\)")
EPOCH = re.compile(r"trial (\d+): epoch (\d+) of")

pytestmark = [*needs_browser, pytest.mark.containers]


@pytest.fixture
def compose() -> Iterator[Compose]:
    if reason := why_not_here() or why_no_images():
        pytest.skip(reason)
    name = f"rigl-study-test-{uuid4().hex[:8]}"
    files = ("docker-compose.yml", "tests/acceptance/compose.verbose.yml")
    compose = Compose(name, files=files, RIGL_STUDY_IMAGE=name, DATASETS="digits", DASHBOARD_PORT="0", WORKER_CPUS="1")
    try:
        # One image after the other: the classic builder would install everything for two services of one image at once.
        compose("build", timeout=1200, COMPOSE_PARALLEL_LIMIT="1")
        yield compose
        print(compose("logs", "--tail=60", check=False))  # shown if the test failed
    finally:
        compose("--profile=tools", "down", "--volumes", "--timeout=10", check=False)
        # The layers stay, so that the next build is quick.
        subprocess.run(
            ["docker", "image", "rm", "--no-prune", f"{name}:cli", f"{name}:worker"], capture_output=True, check=False
        )


@pytest.fixture
def image() -> Iterator[str]:
    """A name for an image that is built from nothing but the base image."""
    if reason := why_not_here() or why_no_images():
        pytest.skip(reason)
    name = f"rigl-study-test-{uuid4().hex[:8]}"
    yield name
    subprocess.run(["docker", "image", "rm", name], capture_output=True, check=False)


def services(*files: str) -> dict[str, Any]:
    """What Compose makes of the files, without any setting."""
    if reason := why_not_here():
        pytest.skip(reason)
    read: dict[str, Any] = json.loads(Compose("defaults", files=files)("config", "--format=json"))["services"]
    return read


def test_nothing_is_published_but_the_dashboard_on_loopback() -> None:
    published = {name: one["ports"] for name, one in services("docker-compose.yml").items() if "ports" in one}

    (port,) = published.pop("dashboard")
    assert (port["host_ip"], port["published"], port["target"]) == ("127.0.0.1", "8080", 8080)
    assert published == {}


def test_workers_and_dashboard_share_no_network() -> None:
    networks = {
        name: set(one.get("networks", {"default": None})) for name, one in services("docker-compose.yml").items()
    }

    assert networks["workers"] == networks["migrate"] == {"database"}
    assert networks["dashboard"] == {"dashboard", "loopback"}
    assert networks["postgres"] == {"database", "dashboard"}, "each reaches the database by a network of its own"
    assert "database" not in networks["data"], "it alone has a way out"


def test_no_container_takes_all_memory_and_processes() -> None:
    limits = {name: (one["mem_limit"], one["pids_limit"]) for name, one in services("docker-compose.yml").items()}
    assert {name: (int(memory), pids) for name, (memory, pids) in limits.items()} == {
        **dict.fromkeys(("secrets", "migrate", "data", "dashboard"), (4 * 2**30, 1024)),
        "postgres": (4 * 2**30, 4096),
        "workers": (16 * 2**30, 4096),
    }
    set_by_hand = Compose("defaults", WORKER_MEMORY="64g", WORKER_PIDS="20000", CLI_MEMORY="1g", POSTGRES_PIDS="99")
    changed = json.loads(set_by_hand("config", "--format=json"))["services"]
    assert (int(changed["workers"]["mem_limit"]), changed["workers"]["pids_limit"]) == (64 * 2**30, 20_000)
    assert (int(changed["dashboard"]["mem_limit"]), changed["postgres"]["pids_limit"]) == (2**30, 99)


def test_digests_may_pin_the_public_images() -> None:
    services("docker-compose.yml")
    digest = f"@sha256:{64 * '0'}"
    pinned = json.loads(Compose("defaults", POSTGRES_DIGEST=digest, PYTHON_DIGEST=digest)("config", "--format=json"))[
        "services"
    ]
    assert pinned["postgres"]["image"] == f"postgres:16{digest}"
    for service in ("migrate", "workers"):
        assert pinned[service]["build"]["args"]["PYTHON_DIGEST"] == digest


def test_gpus_are_asked_for_in_their_own_file_alone() -> None:
    without, with_gpus = services("docker-compose.yml"), services("docker-compose.yml", "docker-compose.gpu.yml")

    added = {name: one.pop("deploy", None) for name, one in with_gpus.items()}
    command = with_gpus["workers"]["command"]
    at = command.index("--device")
    assert command[at : at + 2] == ["--device", "cuda"], "and not the CPU, if there are none after all"
    del command[at : at + 2]
    assert with_gpus == without
    (device,) = added.pop("workers")["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", -1, ["gpu"])
    assert set(added.values()) == {None}


def test_data_and_secrets_stay_out_of_the_build(image: str, tmp_path: Path) -> None:
    """By the engine's own reading of .dockerignore."""
    shutil.copy(ROOT / ".dockerignore", tmp_path)
    wanted = {"LICENSE", "pyproject.toml", "studies/cli.py", "deploy/compose/make_password.py", "deploy/locks/cli.txt"}
    secret = {".env", "secrets/password", "data/x.gz", "checkpoints/0.pt", "reports/report.html", ".git/config"}
    secret |= {"deploy/password", "my-question.toml", "studies/__pycache__/cli.pyc", "study.db"}
    for name in wanted | secret:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "Dockerfile").write_text("FROM python:3.11-slim-bookworm\nCOPY . /context\n")

    docker("build", "--tag", image, str(tmp_path))

    found = docker("run", "--rm", image, "find", "/context", "-type", "f", "-printf", "%P\\n").split()
    assert set(found) - {"Dockerfile", ".dockerignore"} == wanted


def test_another_password_file_makes_the_service_that_reads_it_anew(tmp_path: Path) -> None:
    if reason := why_not_here():
        pytest.skip(reason)
    own = tmp_path / "password"
    own.touch()

    def fingerprint(**settings: str) -> str:
        """By which Compose knows whether a container is still what its file says."""
        return Compose("defaults", **settings)("config", "--hash=secrets")

    assert fingerprint(OWN_PASSWORD_FILE=str(own)) != fingerprint()
    assert fingerprint(DASHBOARD_PORT="1") == fingerprint()


@pytest.mark.timeout(1800)
def test_a_service_from_build_to_down(compose: Compose, tmp_path: Path) -> None:
    compose("up", "--detach", "--scale=workers=3", "workers", "dashboard")
    workers = compose.containers("workers")
    assert len(workers) == 3

    (tmp_path / "survive.toml").write_text(SPEC)
    mounted = f"--volume={tmp_path}/survive.toml:/survive.toml:ro"
    assert compose.cli("create", "/survive.toml", options=(mounted,)) == "survive\n"

    the_database_may_go_away(compose, workers)
    a_crashed_workers_trial_is_finished_by_another(compose, workers)
    a_crashed_worker_is_started_again(compose.containers("workers")[-1])
    wait_until(lambda: compose.status()["state"] == "complete", "all trials are complete", 600)
    (study,) = compose.status()["studies"]
    assert (study["complete"], study["failed"], study["waiting"], study["running"]) == (N_TRIALS, 0, 0, 0)

    the_dashboard_shows_the_study(compose, tmp_path / "dashboard.png")
    the_dashboard_answers_to_its_own_names_alone(compose)
    the_report_comes_out(compose, tmp_path / "reports")
    nobody_reads_the_password(compose)
    there_is_little_to_break_into(compose)
    workers_end_well_when_told_to(compose)


def a_crashed_workers_trial_is_finished_by_another(compose: Compose, workers: list[str]) -> None:
    victim = wait_until(lambda: paused_in_a_trial(workers), "a worker is in the middle of a trial")
    assert victim is not None
    number = trial_in_progress(victim)
    docker("kill", "--signal=KILL", victim)
    heirs = [worker for worker in workers if worker != victim]
    wait_until(
        lambda: any("(attempt 2)" in logs(worker) for worker in heirs), "another worker takes the trial over", 600
    )
    taken_over = next(match for worker in heirs for match in BEGINS.findall(logs(worker)) if match[1] == "2")
    show = ("exec", "-T", "dashboard", "rigl-study", "show", "survive", f"{STUDY}/{taken_over[0]}", "--json")
    wait_until(lambda: json.loads(compose(*show))["state"] == "complete", "it is finished there", 400)
    finished = json.loads(compose(*show))
    assert not finished["worker"].startswith(victim[:12])
    assert finished["retry_of"] == int(number)
    assert finished["epochs_recomputed"] <= 1, "its checkpoint, in the shared volume, was used"


def paused_in_a_trial(workers: list[str]) -> str | None:
    """A worker in the middle of a trial, paused, so that it cannot come to the trial's end before it is killed."""
    for worker in filter(trial_in_progress, workers):
        docker("pause", worker)
        if trial_in_progress(worker):
            return worker
        docker("unpause", worker)
    return None


def trial_in_progress(worker: str) -> str | None:
    """The number of the trial that a worker has trained an epoch or more of, and not ended."""
    told = logs(worker)
    trained = EPOCH.findall(told)
    return trained[-1][0] if trained and f"trial {trained[-1][0]}: complete" not in told else None


def a_crashed_worker_is_started_again(container: str) -> None:
    kill = "import json, os; os.kill(json.load(open('/tmp/health.json'))['pid'], 9)"
    subprocess.run(["docker", "exec", container, "python", "-c", kill], capture_output=True, timeout=60, check=False)
    wait_until(lambda: inspect(container)["RestartCount"] >= 1, "the engine starts it again")
    wait_until(lambda: inspect(container)["State"]["Health"]["Status"] == "healthy", "it is healthy again")


def the_database_may_go_away(compose: Compose, workers: list[str]) -> None:
    wait_until(lambda: any(map(trial_in_progress, workers)), "training begins")
    compose("stop", "postgres")
    wait_until(lambda: any("] the database" in logs(worker) for worker in workers), "workers wait for the database")
    waiting = [worker for worker in workers if "] the database" in logs(worker)]  # others may not even notice
    compose("start", "postgres")
    wait_until(lambda: all("is back after" in logs(worker) for worker in waiting), "all go on")
    assert [inspect(worker)["RestartCount"] for worker in workers] == [0] * len(workers)


def the_dashboard_shows_the_study(compose: Compose, screenshot: Path) -> None:
    from playwright.sync_api import sync_playwright

    address = compose("port", "dashboard", "8080").strip()
    assert address.startswith("127.0.0.1:")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS, timeout=PATIENCE)
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"http://{address}/dashboard/")
        page.get_by_text(f"survive/{STUDY}").first.click()
        page.get_by_text("Best Trial").first.wait_for()
        page.screenshot(path=screenshot)
        browser.close()
    assert screenshot.stat().st_size > 10_000


def the_dashboard_answers_to_its_own_names_alone(compose: Compose) -> None:
    port = int(compose("port", "dashboard", "8080").strip().rpartition(":")[2])

    def status(method: str, host: str, **headers: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request(method, "/api/studies/1", headers={"Host": host, **headers})
        return connection.getresponse().status

    assert [status("GET", f"{host}:{port}") for host in ("127.0.0.1", "localhost", "dashboard")] == [200, 200, 200]
    assert [status(method, f"evil.example:{port}") for method in ("GET", "DELETE")] == [421, 421]
    assert status("DELETE", f"127.0.0.1:{port}", Origin="http://evil.example") == 403
    assert status("GET", f"127.0.0.1:{port}") == 200, "the study is still there"


def the_report_comes_out(compose: Compose, folder: Path) -> None:
    folder.mkdir()
    me = f"--user={os.getuid()}:{os.getgid()}"
    told = compose.cli("report", "survive", "--out=/reports", options=(me, f"--volume={folder}:/reports"))
    assert "report: /reports/report.html" in told
    assert "survive" in (folder / "report.html").read_text()


def nobody_reads_the_password(compose: Compose) -> None:
    password = compose("exec", "-T", "dashboard", "cat", "/run/secrets/rigl-study/password")
    assert len(password) >= 32
    everyone = compose("ps", "--all", "--quiet").split()
    assert len(everyone) >= 8, "secrets, postgres, migrate, data, three workers, dashboard"
    listed = subprocess.check_output(["ps", "axeww", "-o", "comm=,args="], text=True).splitlines()
    places = {
        "inspect": docker("inspect", *everyone),
        "images": docker("inspect", *{inspect(one)["Image"] for one in everyone}),
        "config": compose("config") + compose("config", "--environment"),
        "logs": compose("logs"),
        "processes": subprocess.check_output(["ps", "axww"], text=True),
        # But Postgres's own, where its image's entrypoint puts it; only root and Postgres can read that.
        "environments": "".join(line for line in listed if not line.startswith("postgres ")),
        "environments inside": "".join(compose("exec", "-T", s, "env") for s in ("workers", "dashboard", "postgres")),
    }
    assert [name for name, text in places.items() if password in text or not text] == []


def there_is_little_to_break_into(compose: Compose) -> None:
    for container in compose("ps", "--all", "--quiet").split():
        found = inspect(container)
        host = found["HostConfig"]
        assert (host["ReadonlyRootfs"], host["CapDrop"], host["CapAdd"]) == (True, ["ALL"], None), found["Name"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"], found["Name"]
        assert found["Config"]["User"] in ("10001:10001", "postgres"), found["Name"]
        service = found["Config"]["Labels"]["com.docker.compose.service"]
        addresses = [bound["HostIp"] for ports in host["PortBindings"].values() for bound in ports]
        assert addresses == (["127.0.0.1"] if service == "dashboard" else []), found["Name"]
        assert 0 < host["PidsLimit"] <= 4096, found["Name"]
        assert 0 < host["Memory"] <= 16 * 2**30, found["Name"]
    refused = "touch /x || touch /data/x || command -v gcc || command -v cc || command -v make || command -v ld"
    for service in ("workers", "dashboard"):
        assert compose("exec", "-T", service, "id", "-u") == "10001\n"
        assert compose("exec", "-T", service, "sh", "-c", f"({refused}) 2>/dev/null; exit 0") == ""
        assert compose("exec", "-T", service, "sh", "-c", "ls /opt/venv/bin | grep pip; exit 0") == ""
    reach = "import socket; socket.create_connection(('{}', {}), timeout={})"
    compose("exec", "-T", "workers", "python", "-c", reach.format("postgres", 5432, 60))
    networks = inspect(compose.containers("dashboard")[0])["NetworkSettings"]["Networks"].values()
    for address in ("dashboard", *(network["IPAddress"] for network in networks)):
        with pytest.raises(AssertionError, match=r"TimeoutError|gaierror|OSError"):
            compose("exec", "-T", "workers", "python", "-c", reach.format(address, 8080, 3))
    find_torch = "import importlib.util; print(importlib.util.find_spec('torch'))"
    assert compose("exec", "-T", "dashboard", "python", "-c", find_torch) == "None\n"


def workers_end_well_when_told_to(compose: Compose) -> None:
    running = compose.containers("workers")
    assert len(running) >= 2
    compose("stop", "workers")
    assert [inspect(worker)["State"]["ExitCode"] for worker in running] == [0] * len(running)
