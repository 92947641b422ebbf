"""`python -m benchmarks.chaos`: kill, stop, freeze and fill, then check every number. Exit code 1 on any violation.

Example: python -m benchmarks.chaos --points 200 --kills 300 --restarts 10 --workers 3 --seed 0
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from datetime import datetime
from importlib.metadata import version

from optuna.trial import FrozenTrial

from benchmarks.chaos.site import FAKETIME, Site, make_spec, open_site
from benchmarks.chaos.troubles import Chaos, Plan
from benchmarks.chaos.verdict import Verdict, judge, trials_of


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos",
        description=(__doc__ or "").partition("\n")[0],
        epilog="example: python -m benchmarks.chaos --points 200 --kills 300 --restarts 10 --workers 3 --seed 0",
    )
    for name, default, meaning in (
        ("points", 200, "grid points, each trained once"),
        ("epochs", 6, "epochs of each"),
        ("workers", 3, "workers at a time; the last one is never killed"),
        ("kills", 300, "kill -9 of workers that have a ticket"),
        ("restarts", 10, "stops of Postgres, fast and immediate in turn"),
        ("freezes", 8, "workers stopped (SIGSTOP) until their ticket is taken from them"),
        ("preemptions", 8, "workers told to stop (SIGTERM)"),
        ("disk-full", 1, "times the disk of the checkpoints is full"),
        ("clock-skew", 3600, "seconds between the clocks of the first two workers; needs libfaketime"),
        ("outage", 20, "the longest outage in seconds; the shortest is 1"),
        ("limit", 3600, "seconds after which the run has failed"),
        ("seed", 0, "of the random choices"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} ({default})", metavar="N")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    chosen = parser.parse_args(arguments)
    if chosen.workers < 2:
        parser.error(f"--workers {chosen.workers}: at least 2, of which the last is never killed.")
    if min(chosen.points, chosen.epochs) < 1 or chosen.outage < 1:
        parser.error("--points, --epochs and --outage are 1 or more.")
    if chosen.clock_skew and not FAKETIME:
        parser.error("--clock-skew needs libfaketime, which is not here: install `faketime`, or give --clock-skew 0.")
    return chosen


def run(chosen: argparse.Namespace) -> Verdict:
    """The disturbed campaign, then the same one undisturbed, then the comparison."""
    plan = Plan(
        points=chosen.points,
        epochs=chosen.epochs,
        workers=chosen.workers,
        kills=chosen.kills,
        restarts=chosen.restarts,
        freezes=chosen.freezes,
        preemptions=chosen.preemptions,
        disk_full=chosen.disk_full,
        outage=(1.0, float(chosen.outage)),
        limit=chosen.limit,
    )
    with open_site(chosen.clock_skew) as site:
        study = site.create(make_spec("chaos", plan.points, plan.epochs))
        chaos = Chaos(site, plan, study, "chaos", chosen.seed)
        began = datetime.now()
        chaos.run()
        during = began, datetime.now()
        sys.stderr.write("\nthe same undisturbed ...\n")
        undisturbed = _undisturbed(site, plan)
        return judge(chaos, trials_of(site, "chaos"), undisturbed, during)


def _undisturbed(site: Site, plan: Plan) -> list[FrozenTrial]:
    """The trials of the same grid when nothing happens."""
    site.create(make_spec("undisturbed", plan.points, plan.epochs))
    disturbed = list(site.workers)
    for _ in range(min(2, n_cores())):
        site.start(0, "undisturbed", plain=True)
    deadline = time.monotonic() + plan.limit
    while site.alive() and time.monotonic() < deadline:
        time.sleep(0.1)
    site.workers = disturbed  # the verdict is about these
    return trials_of(site, "undisturbed")


def n_cores() -> int:
    """How many processor cores we may use."""
    return len(os.sched_getaffinity(0))


def show(verdict: Verdict, chosen: argparse.Namespace) -> None:
    """Print where this was, the figures, and what is wrong."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    where = {
        "commit": commit.stdout.strip() or "unknown",
        "machine": f"{platform.machine()}, {n_cores()} cores",
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "optuna", "psycopg2-binary")},
    }
    if chosen.json:
        content = {"where": where, "asked": vars(chosen), "figures": verdict.figures, "violations": verdict.violations}
        print(json.dumps(content, indent=2))
        return
    print(", ".join(f"{key} {value}" for key, value in where.items()) + "\n")
    width = max(map(len, verdict.figures))
    for name, value in verdict.figures.items():
        print(f"{name:{width}}  {value}")
    print()
    for violation in verdict.violations:
        print(f"VIOLATED: {violation}")
    print("nothing violated" if not verdict.violations else f"{len(verdict.violations)} violations")


def main() -> int:
    """Run, print; the exit code."""
    chosen = parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to clean up then, too
    try:
        verdict = run(chosen)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; everything is cleaned up\n")
        return 130
    show(verdict, chosen)
    return 1 if verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main())
