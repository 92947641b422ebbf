"""What the queue costs a trial of two minutes: claim, 250 reports with pruning decisions, complete, among 32 workers.

`python -m benchmarks.queue_cost` fills studies of 100, 3,000 and 10,000 finished trials into a Postgres of its own and
lets one worker, a process of its own, go through two trials of each study, while 31 others report at the pace of the
real thing, 0.48 seconds an epoch. The worker trains nothing: it sleeps, so that the two cores of a small machine are
left to the queue. What is lost to training is counted, not guessed:

- the time for which the training thread is in a call of the queue (claim, report, flush, complete, the look for the
  dead between two trials), and
- all computing of the worker's other threads, as if training had stood still meanwhile; it does so in truth only where
  training needs the interpreter, or all cores are busy.

Only some of the 250 epochs are run. The first half of them counts as it was, with what a process or a trial reads once;
what the second half took is multiplied for the rest of the trial. A half is as many epochs as a worker reads at once of
the complete trials, so that no such reading counts more often than it happens. The peer is Optuna as it comes
(`load_study`, `ask`, `report`, `should_prune`, `tell` on its RDBStorage), with the same sampler and pruner, alone on
the machine, which favours it. Values are such that nothing is pruned.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from itertools import pairwise

from benchmarks import commands
from benchmarks.connections import RESULT, server
from benchmarks.filled_study import EPOCHS, fill
from benchmarks.rows import Row, speedup, table
from studies.database import engines
from studies.database.other_trials import EPOCHS_AT_ONCE
from studies.database.storage_url import StorageUrl
from studies.storage import close_storage, open_storage
from studies.strategies import PRUNERS, SAMPLERS
from studies.ticket import Report
from studies.tickets import TicketQueue
from workers.heartbeat import Heartbeat
from workers.reporter import Reporter

EPOCH_SECONDS = 0.48
TRIAL_SECONDS = EPOCHS * EPOCH_SECONDS
WORKERS = 32
SIZES = (100, 3_000, 10_000)
PEER_AT_MOST = 3_000
GOAL = 0.005 * TRIAL_SECONDS
HIGH = 0.99  # above all others' values: never pruned
RUN = 2 * EPOCHS_AT_ONCE  # epochs


@dataclass(frozen=True)
class Cost:
    """Seconds of a whole trial that are lost to training.

    Attributes:
        claim: until there are parameters to train with.
        reports: blocked in all reports.
        computing: of other threads meanwhile.
        end: the last reports, the result, and the look for dead workers.
    """

    claim: float
    reports: float
    computing: float
    end: float

    @property
    def total(self) -> float:
        return self.claim + self.reports + self.computing + self.end

    def __str__(self) -> str:
        parts = ", ".join(f"{field.name} {1e3 * getattr(self, field.name):.0f}" for field in fields(self))
        return f"{100 * self.total / TRIAL_SECONDS:.2f} % of the trial; ms: {parts}"


def whole(taken: Sequence[float]) -> float:
    """Seconds of all epochs, from what each of the first took: see the module's text."""
    half = len(taken) // 2
    return sum(taken[:half]) + sum(taken[half:]) * (EPOCHS - half) / (len(taken) - half)


def computed_by_others() -> float:
    """Seconds of computing of the process's other threads."""
    return time.process_time() - time.thread_time()


def ours(url: StorageUrl, study: str, n_epochs: int) -> list[Cost]:
    """Two trials in this process, one after the other."""
    storage = open_storage(url)
    queue = TicketQueue.open(storage, study)
    costs = []
    for _ in range(2):
        began = time.perf_counter()
        ticket = queue.claim("measured")
        claimed = time.perf_counter()
        if ticket is None:
            raise AssertionError("no ticket waits")
        blocked, others = [], [computed_by_others()]
        with Heartbeat(ticket), Reporter(ticket) as reporter:
            for epoch in range(n_epochs):
                time.sleep(EPOCH_SECONDS)
                before = time.perf_counter()
                reporter.tell(Report(epoch, HIGH))
                blocked.append(time.perf_counter() - before)
                others.append(computed_by_others())
            trained = time.perf_counter()
            reporter.flush()
            ticket.complete(RESULT)
            queue.sweep()
            ended = time.perf_counter()
        computing = whole([after - before for before, after in pairwise(others)]) + computed_by_others() - others[-1]
        costs.append(Cost(claimed - began, whole(blocked), computing, ended - trained))
    close_storage(storage)
    return costs


def peer(url: StorageUrl, study_name: str, n_epochs: int) -> list[Cost]:
    """The same with Optuna as it comes."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler, pruner = SAMPLERS["tpe" if study_name.startswith("tpe") else "random"], PRUNERS["median"]
    study, costs = None, []
    for _ in range(2):
        began = time.perf_counter()
        if study is None:
            storage = optuna.storages.RDBStorage(url.secret())
            study = optuna.load_study(
                study_name=study_name, storage=storage, sampler=sampler.build(0), pruner=pruner.build({}, EPOCHS)
            )
        trial = study.ask()
        trial.suggest_float("lr", 0.01, 0.3, log=True)
        trial.suggest_float("alpha", 0.1, 0.6)
        trial.suggest_int("delta_t", 50, 1000, step=50)
        claimed = time.perf_counter()
        blocked = []
        for epoch in range(n_epochs):
            time.sleep(EPOCH_SECONDS)
            before = time.perf_counter()
            trial.report(HIGH, epoch)
            trial.should_prune()
            blocked.append(time.perf_counter() - before)
        trained = time.perf_counter()
        study.tell(trial, HIGH)
        costs.append(Cost(claimed - began, whole(blocked), 0.0, time.perf_counter() - trained))
    return costs


def company(url: StorageUrl, study: str) -> None:
    """The other workers, as threads: each claims, and reports at the pace of an epoch until nothing comes any more."""
    engines.POOL_SIZE = WORKERS  # all share one storage, and what is known of finished trials, as in the long run
    storage = open_storage(url)
    queue = TicketQueue.open(storage, study)
    done = threading.Event()
    n_reports: list[int] = []

    def work(index: int) -> None:
        ticket = queue.claim(f"company:{index}")
        if ticket is None:
            raise AssertionError("no ticket waits")
        claimed.wait()
        done.wait(EPOCH_SECONDS * index / WORKERS)
        epoch, due = 0, time.perf_counter()
        while not done.wait(max(0.0, due - time.perf_counter())):
            due += EPOCH_SECONDS
            ticket.tell([Report(epoch, HIGH)])
            if epoch % 20 == 0:
                ticket.beat()
            epoch += 1
        n_reports.append(epoch)

    claimed = threading.Barrier(WORKERS)
    threads = [threading.Thread(target=work, args=[index]) for index in range(WORKERS - 1)]
    for thread in threads:
        thread.start()
    claimed.wait()
    began = time.perf_counter()
    print("ready", flush=True)
    sys.stdin.readline()
    seconds = time.perf_counter() - began
    done.set()
    for thread in threads:
        thread.join()
    print(sum(n_reports) / seconds)


ROLES = {"ours": ours, "peer": peer}


def start(role: str, url: StorageUrl, *arguments: object) -> "subprocess.Popen[str]":
    """A process of this module in another role; the URL goes where no `ps` sees it."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.queue_cost", "--role", role, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(url.secret() + "\n")
    process.stdin.flush()
    return process


@contextmanager
def in_company(url: StorageUrl, study: str) -> Iterator[list[float]]:
    """The other 31 workers report meanwhile; afterwards the list has their reports a second."""
    process = start("company", url, study)
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise AssertionError("the other workers did not start")
    rate: list[float] = []
    try:
        yield rate
    finally:
        rate.append(float(process.communicate("\n")[0]))


def measured(role: str, url: StorageUrl, study: str, n_epochs: int) -> list[Cost]:
    """What a new process of that role found, for its first trial and the next one."""
    told, _ = start(role, url, study, n_epochs).communicate()
    return [Cost(**cost) for cost in json.loads(told)]


def measure(*, sizes: Sequence[int] = SIZES, n_epochs: int = RUN, sampler: str = "random") -> list[Row]:
    """Fill, measure, and give the rows; how far it is goes to stderr."""
    rows: list[Row] = []
    later: dict[int, Cost] = {}
    goal = f"≤ {GOAL:.2g} s"
    with server() as url:
        for n in sizes:
            study = fill(url, n, sampler)
            with in_company(url, study) as rate:
                mine = measured("ours", url, study, n_epochs)
            later[n] = mine[1]
            theirs = measured("peer", url, study, n_epochs) if n <= PEER_AT_MOST else None
            for i, which in enumerate(["first trial of a process", "later trials"]):
                line = f"queue cost of a trial, {sampler}, {n:,} finished, {which}"
                note = f"{mine[i]}; others: {rate[0]:.0f} reports/s"
                if theirs is None:
                    why = f"Optuna not measured: it would load {n * EPOCHS:,} rows as objects"
                    rows.append(Row(line=line, ours=mine[i].total, unit="s", goal=goal, note=f"{note}. {why}"))
                else:
                    note += f". Optuna: {theirs[i]}"
                    rows.append(speedup(line, mine[i].total, "Optuna", theirs[i].total, unit="s", goal=goal, note=note))
                print(f"{line}: {rows[-1].note}", file=sys.stderr, flush=True)
    least, most = min(later), max(later)
    if least == most:
        return rows
    rows.append(
        Row(
            line=f"queue cost of a trial, {sampler}, {most:,} finished / {least:,}",
            ours=later[most].total / later[least].total,
            unit="×",
            goal="≤ 1.5×",
            note=f"{1e3 * later[least].total:.0f} and {1e3 * later[most].total:.0f} ms; later trials",
        )
    )
    return rows


def main() -> None:
    """Measure and print the table; or play one of the roles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer epochs, and not at 10,000 trials")
    parser.add_argument("--sizes", type=int, nargs="+", metavar="N", help="finished trials (100 3000 10000)")
    parser.add_argument("--sampler", choices=["random", "tpe"], help="only this one, and not --help and status")
    parser.add_argument("--epochs", type=int, metavar="N", help=f"of {EPOCHS}, that are run ({RUN})")
    parser.add_argument("--json", action="store_true", help="the rows as JSON")
    parser.add_argument("--role", choices=[*ROLES, "company"], help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role is not None:
        url = StorageUrl.parse(sys.stdin.readline().strip())
        if options.role == "company":
            company(url, options.arguments[0])
        else:
            costs = ROLES[options.role](url, options.arguments[0], int(options.arguments[1]))
            print(json.dumps([asdict(cost) for cost in costs]))
        return
    sizes = options.sizes or (SIZES[:2] if options.quick else SIZES)
    rows = []
    for sampler in [options.sampler] if options.sampler else ["random", "tpe"]:
        rows += measure(sizes=sizes, n_epochs=options.epochs or (10 if options.quick else RUN), sampler=sampler)
    if not options.sampler:
        rows += commands.measure(quick=options.quick)
    print(json.dumps([asdict(row) for row in rows], ensure_ascii=False) if options.json else table(rows))


if __name__ == "__main__":
    main()
