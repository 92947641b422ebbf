"""A worker process of `workers.pool`: reads its settings from standard input and works until it is done or stopped."""

import logging
import os
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from rigl_core.execution import Execution
from studies import log_format
from studies.campaigns import campaign_names, open_campaign
from studies.database.embedded import EmbeddedPostgres
from studies.database.storage_url import StorageUrl
from studies.errors import BadInput, DeviceFailed, NotFound, RiglStudyError, SpecVersionError, StorageError
from studies.log_format import JsonFormatter, TextFormatter, log_to_stderr
from studies.storage import open_storage
from studies.tickets import TicketQueue
from workers.devices import held_device
from workers.loop import run_worker, worker_id
from workers.pool import GPU_FAILED, SAID_WHY, TRY_AGAIN, WorkerSettings
from workers.stop import Stop, on_signals

log = logging.getLogger("rigl_study.worker")

KILLED = 137  # what a shell tells of SIGKILL


def main() -> int:
    """Run one worker; the exit code."""
    stop = Stop()
    with on_signals(stop):
        settings = WorkerSettings.from_json(sys.stdin.readline())
        threading.Thread(target=_watch_parent, args=[stop], daemon=True).start()
        as_json = settings.log_format == "json"
        formatter = JsonFormatter() if as_json else TextFormatter(f"[worker {settings.index}] ")
        log_to_stderr(formatter, "", logging.INFO)
        log.setLevel(logging.DEBUG if settings.verbose else logging.INFO)
        logging.captureWarnings(as_json)
        try:
            work(settings, stop)
        except (StorageError, DeviceFailed) as error:
            log.error("%s", error)
            again = TRY_AGAIN if isinstance(error, StorageError) else GPU_FAILED
            return error.exit_code if stop.is_set() else again
        except RiglStudyError as error:
            log.error("%s", error)
            return error.exit_code
        except ImportError as error:  # a package that is broken or does not fit the others
            log.error("cannot load what training needs: %s: %s", type(error).__name__, error)
            return 1
        except Exception as error:
            log.critical("unexpected %s: %s", type(error).__name__, error, exc_info=True)
            return 1
        return 0


def work(settings: WorkerSettings, stop: Stop) -> int:
    """Claim and train until the campaigns are done; how many trials were finished."""
    name = worker_id()
    log_format.note(worker=name)
    if settings.storage is None:
        url = EmbeddedPostgres(None if settings.home is None else Path(settings.home)).ensure_running()
    else:
        url = StorageUrl.parse(settings.storage)
    storage = open_storage(
        url,
        heartbeat_interval=settings.heartbeat_interval,
        grace_period=settings.grace_period,
        should_stop=stop.is_overdue,
    )
    told: set[tuple[str, type]] = set()

    def queues() -> Sequence[TicketQueue]:
        names = settings.campaigns or campaign_names(storage)
        found: list[TicketQueue] = []
        for name in names:
            try:
                found += open_campaign(storage, name).queues
            except (NotFound, SpecVersionError, BadInput) as error:
                if settings.campaigns and not settings.forever:
                    raise
                if (name, type(error)) not in told:  # once, not at every look of a worker that runs for ever
                    told.add((name, type(error)))
                    log.warning("%s", error)
        return found

    mine = queues()
    # Only now: to load torch takes seconds, and what is wrong with the campaign should show before.
    from rigl_core.plan import make_plan
    from rigl_core.runtime import check_computes, set_threads
    from workers.objective import Means, run_ticket
    from workers.tidy import tidy

    set_threads(settings.threads)
    checkpoint_dir = Path(settings.checkpoint_dir)
    # In the folder that workers share anyway, so that those in other containers of this machine see the locks.
    locks, wait = checkpoint_dir / "gpu-locks", stop if settings.forever else None
    with held_device(settings.device, settings.index, locks, wait, pool=settings.pool) as device:
        if device is None:  # it was stopped while it waited for a GPU
            return 0
        log_format.note(device=device)
        means = Means(
            device=device,
            data_dir=None if settings.data_dir is None else Path(settings.data_dir),
            execution=Execution(
                precision=settings.precision, deterministic=settings.deterministic, compiled=settings.compiled
            ),
        )
        # Before a ticket is claimed: three workers in turn that a GPU lets down would cost it for good.
        make_plan(means.execution, device)  # which refuses what the device cannot do
        check_computes(device)
        run = partial(run_ticket, checkpoint_dir=checkpoint_dir, means=means)
        return run_worker(
            mine,
            run,
            stop,
            worker=name,
            max_trials=settings.max_trials,
            forever=settings.forever,
            refresh=queues if settings.forever else None,
            poll_seconds=settings.poll_seconds,
            when_over=partial(tidy, checkpoint_dir=checkpoint_dir),
        )


def _watch_parent(stop: Stop) -> None:
    """End with the parent, however that ended: gently first, at once if it had asked for a stop already."""
    while os.read(sys.stdin.fileno(), 1):  # not `sys.stdin`, whose lock this thread would hold at exit
        pass
    if stop.is_set():
        os._exit(KILLED)
    stop.request("the parent process is gone")


def end(code: int) -> NoReturn:
    """Leave the process so that the pool knows it was `main` that ended."""
    sys.exit(code if code in (TRY_AGAIN, GPU_FAILED) else SAID_WHY + code)


if __name__ == "__main__":
    end(main())
