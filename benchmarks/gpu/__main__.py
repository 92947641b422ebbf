"""`python -m benchmarks.gpu [--only PART,...] [--budget SECONDS] [--out FILE.json] [--quick] [--device cpu]`."""

import argparse
import os
import sys
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


def parts_of(site: Site, session: Session) -> Mapping[str, tuple[float, Measure]]:
    """Part to the seconds it may take and what measures it; the most wanted first."""
    checks, speed, ideas = Checks(site, session), Speed(site, session), Ideas(site, session)
    whole, stretch = (6.0, 3.0) if site.quick else (100.0, 25.0)
    parts: dict[str, tuple[float, Measure]] = {
        "ceilings": (20, speed.ceilings),
        "recorded": (60, checks.recorded),
        "masks": (30, checks.masks),
        "waiting": (20, checks.waiting),
        "wrn-steps": (60, of(speed.steps, WRN)),
        "wrn-topology": (15, of(speed.topology, WRN)),
        "wrn-profile": (20, of(speed.profile, WRN)),
        "wrn-run": (whole + 20, of(speed.run, WRN, whole)),
        "wrn-reuse": (30, of(speed.reuse, WRN)),
        "wrn-memory": (15, of(speed.memory, WRN)),
        "resnet-steps": (60, of(speed.steps, RESNET)),
        "resnet-topology": (20, of(speed.topology, RESNET)),
        "resnet-profile": (25, of(speed.profile, RESNET)),
        "resnet-run": (stretch + 40, of(speed.run, RESNET, stretch)),
        "resnet-reuse": (40, of(speed.reuse, RESNET)),
        "resnet-memory": (20, of(speed.memory, RESNET)),
        "wrn-loop": (25, of(speed.plain_loop, WRN)),
        "accuracy": (60, checks.accuracy),
        "compiled": (120, checks.compiled),
        "wrn-compiled": (90, of(speed.compiled, WRN)),
        "wrn-run-compiled": (stretch + 60, of(speed.run, WRN, stretch, compiled=True)),
        "resnet-compiled": (150, of(speed.compiled, RESNET)),
        "resnet-run-compiled": (stretch + 120, of(speed.run, RESNET, stretch, compiled=True)),
        "ideas": (stretch + 200, ideas.measure),
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
        site.release()
        if not reliable and site.device != "cpu":
            return wanted[number:]
    return []


def rows() -> list[Row]:
    """For the table of all benchmarks: the rows of this machine's first GPU, or that it has none."""
    if torch.cuda.is_available():
        session = Session(BUDGET)
        measure(Site("cuda", quick=False), session)
        return session.rows
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
    parser.add_argument("--go-on", action="store_true", help="keep the figures that are in --out already")
    options = parser.parse_args(arguments)
    only = [name for name in options.only.split(",") if name]
    if unknown := set(only) - set(parts_named()):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are: {', '.join(parts_named())}")
    if options.device != "cpu" and not torch.cuda.is_available():
        print(table(rows()))
        return
    os.environ.setdefault(
        "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
    )  # what deterministic parts need, before the first uses it
    site = Site(options.device, options.quick)
    kept = options.out.read_text() if options.go_on and options.out and options.out.exists() else ""
    session = Session(options.budget, options.out, kept)
    name = "CPU" if options.device == "cpu" else torch.cuda.get_device_name(options.device)
    session.machine = f"{name}, torch {torch.__version__}, CUDA {torch.version.cuda}"
    print(session.machine, flush=True)
    left = measure(site, session, only)
    if left and options.out is not None and session.seconds_left > 1.0:
        again = ["--device", options.device, "--budget", f"{session.seconds_left:.0f}", "--only", ",".join(left)]
        again += ["--out", str(options.out), "--go-on", *(["--quick"] if options.quick else [])]
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.gpu", *again])
    if left:
        measure(site, session, left)
    print(f"\n{table(session.rows)}\n")
    print("\n".join(session.told))


def parts_named() -> list[str]:
    """The names of all parts."""
    return list(parts_of(Site("cuda", quick=False), Session(0.0)))


if __name__ == "__main__":
    main()
