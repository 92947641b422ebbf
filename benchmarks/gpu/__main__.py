"""`python -m benchmarks.gpu [--only PART,...] [--budget SECONDS] [--out FILE.json] [--quick] [--device cpu]`."""

import argparse
import faulthandler
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial as of
from pathlib import Path

import torch

from benchmarks.gpu.checks import Checks
from benchmarks.gpu.ideas import Ideas
from benchmarks.gpu.session import Measure, Session
from benchmarks.gpu.site import NETWORKS, RESNET, WRN, Site
from benchmarks.gpu.speed import Speed
from benchmarks.rows import Row, not_measured, table
from rigl_core.execution import Execution
from rigl_core.plan import prepare_process

BUDGET = 500.0
LATE = 15.0
"""Seconds after the budget at which a part is ended that did not hear that its time was up."""


def parts_of(site: Site, session: Session) -> Mapping[str, tuple[float, Measure]]:
    """Part to the seconds it may take and what measures it; the most wanted first."""
    checks, speed, ideas = Checks(site, session), Speed(site, session), Ideas(site, session)
    stretch = 3.0 if site.quick else 25.0
    parts: dict[str, tuple[float, Measure]] = {
        "ceilings": (20, speed.ceilings),
        "recorded": (60, checks.recorded),
        "masks": (30, checks.masks),
        "waiting": (20, checks.waiting),
        "wrn-steps": (60, of(speed.steps, WRN)),
        "wrn-compiled": (90, of(speed.compiled, WRN)),
        "wrn-run-compiled": (stretch + 60, of(speed.run, WRN, stretch, compiled=True)),
        "resnet-steps": (60, of(speed.steps, RESNET)),
        "resnet-run-compiled": (stretch + 120, of(speed.run, RESNET, stretch, compiled=True)),
        "wrn-topology": (15, of(speed.topology, WRN)),
        "resnet-topology": (20, of(speed.topology, RESNET)),
        "wrn-memory": (15, of(speed.memory, WRN)),
        "resnet-memory": (20, of(speed.memory, RESNET)),
        "accuracy": (60, checks.accuracy),
        "wrn-run": (stretch + 20, of(speed.run, WRN, stretch)),
        "resnet-run": (stretch + 40, of(speed.run, RESNET, stretch)),
        "wrn-reuse": (30, of(speed.reuse, WRN)),
        "resnet-reuse": (40, of(speed.reuse, RESNET)),
        "compiled": (120, checks.compiled),
        "resnet-compiled": (150, of(speed.compiled, RESNET)),
        "wrn-profile": (20, of(speed.profile, WRN)),
        "resnet-profile": (25, of(speed.profile, RESNET)),
        "wrn-loop": (25, of(speed.plain_loop, WRN)),
        "ideas": (stretch + 400, ideas.measure),
    }
    if site.tiny:  # where both networks are the same
        parts = {name: part for name, part in parts.items() if not name.startswith("resnet")}
    return parts


def measure(site: Site, session: Session, only: Sequence[str] = ()) -> list[str]:
    """Measure the parts, all of them if none is named, in order.

    Returns:
        Those that are left after one that failed, for a process whose device has seen no failure.
    """
    parts = parts_of(site, session)
    wanted = [name for name in parts if not only or name in only]
    for number, name in enumerate(wanted, 1):
        prepare_process(Execution(), site.device)  # anew: a part may have trained deterministically
        reliable = session.attempt(name, *parts[name])
        if not reliable and site.device != "cpu":  # which may be able to do nothing any more, not even to give back
            return wanted[number:]
        site.release()
    return []


def rows() -> list[Row]:
    """For the table of all benchmarks: the rows of this machine's first GPU, or that it has none."""
    if torch.cuda.is_available():
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "figures.json"
            ended = subprocess.run([sys.executable, "-m", "benchmarks.gpu", "--out", str(out)], check=False).returncode
            found = Session(0.0, kept=out.read_text() if out.exists() else "").rows
        return found + [not_measured("what is left of a GPU", f"its process ended with {ended}")] * bool(ended)
    none = "this machine has no GPU; python -m benchmarks.gpu on one that has measures all"
    return [not_measured(f"{network.model}, 250 epochs", none, goal=network.in_words) for network in NETWORKS]


def main(arguments: list[str] | None = None) -> None:
    """Measure and print; after a failed part, go on with the others in a process of their own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu")
    parser.add_argument("--quick", action="store_true", help="that everything runs, not how fast; tiny on a CPU")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds after which nothing new is begun")
    parser.add_argument("--only", default="", metavar="PART,...", help="of: " + ", ".join(parts_named()))
    parser.add_argument("--out", type=Path, help="a JSON file, written anew with every figure")
    parser.add_argument("--go-on", type=float, metavar="ENDS", help=argparse.SUPPRESS)  # with what is in --out already
    options = parser.parse_args(arguments)
    only = [name for name in options.only.split(",") if name]
    if unknown := set(only) - set(parts_named()):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are: {', '.join(parts_named())}")
    out = options.out or Path(tempfile.mkdtemp(prefix="rigl-study-gpu-")) / "figures.json"
    goes_on = options.go_on is not None and out.exists()
    kept = out.read_text() if goes_on else ""
    if options.device != "cpu" and not torch.cuda.is_available():
        lost = [not_measured(name, "the GPU cannot be used any more") for name in only]
        print(table(Session(0.0, kept=kept).rows + lost if goes_on else rows()))
        return
    # What deterministic parts need, before the first uses it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    site = Site(options.device, options.quick)
    session = Session(options.go_on - time.monotonic() if goes_on else options.budget, out, kept)
    # Whatever may hang where no alarm is heard: the figures so far are in the file.
    faulthandler.dump_traceback_later(max(1.0, session.seconds_left) + LATE, file=2, exit=True)
    try:
        _measure_and_print(session, site, only, out)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _measure_and_print(session: Session, site: Site, only: Sequence[str], out: Path) -> None:
    name = "CPU" if site.device == "cpu" else torch.cuda.get_device_name(site.device)
    session.machine = f"{name}, torch {torch.__version__}, CUDA {torch.version.cuda}"
    print(f"{session.machine}; figures in {out}", flush=True)
    left = measure(site, session, only)
    if left:
        again = ["--device", site.device, "--only", ",".join(left), *(["--quick"] if site.quick else [])]
        again += ["--out", str(out), "--go-on", f"{session.ends}"]
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.gpu", *again])
    print(f"\n{table(session.rows)}\n")
    print("\n".join(session.told))


def parts_named() -> list[str]:
    """The names of all parts."""
    return list(parts_of(Site("cuda", quick=False), Session(0.0)))


if __name__ == "__main__":
    main()
