"""All figures of a GPU in one command, in less than nine minutes, without a network: `python -m benchmarks.gpu`.

Images are made up, of the shapes and numbers of CIFAR's. What a machine cannot measure is told with the reason.
`--device cpu --quick` goes the same way on a CPU with next to no data: that it runs, not how fast.
"""

import argparse
import gc
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch

from benchmarks.ceilings import arithmetic, bandwidth, milliseconds, traffic, wait
from benchmarks.plain_loop import PlainLoop
from benchmarks.rows import Row, not_measured, share, speedup, table
from rigl_core.config import TrainConfig
from rigl_core.data.images import ImageData
from rigl_core.data.task import load_task
from rigl_core.execution import Execution
from rigl_core.flops import forward_flops
from rigl_core.outcome import EpochReport
from rigl_core.plan import Plan, make_plan, prepare_process
from rigl_core.replica import Replica
from rigl_core.train import train
from rigl_core.workplace import Workplace

BUDGET = 510.0
"Seconds after which nothing new is begun."
SEEDS = (0, 1, 2)
FLOAT32 = Execution(precision="float32", deterministic=True)


@dataclass(frozen=True)
class Network:
    """A run of the report, and how much of it is measured.

    Attributes:
        recipe: of the run, and the number of classes of its data.
        goal: seconds for the whole of it on an H100.
        epochs: trained for the figure, of which the first does not count: it records.
    """

    model: str
    recipe: str
    classes: int
    goal: float
    epochs: int

    @property
    def in_words(self) -> str:
        """The goal."""
        return f"≤ {self.goal:.0f} s on an H100"


NETWORKS = (Network("wrn_22_2", "cifar10", 10, 90.0, 8), Network("resnet50", "cifar100", 100, 720.0, 3))


@dataclass(frozen=True)
class Site:
    """Where and how much is measured."""

    device: str
    quick: bool

    def config(self, network: Network, **changes: object) -> TrainConfig:
        """The report's run of the network with made-up data."""
        options = {"n_train": 45_000, "n_eval": 5_000}
        small: dict[str, object] = {}
        if self.quick:
            options = {"n_train": 40, "n_eval": 8, "height": 8, "width": 8}
            small = {"model": "wrn", "model_options": {"depth": 10, "width": 0.25}, "batch_size": 16}
        return TrainConfig.model_validate(
            {
                "recipe": network.recipe,
                "model": network.model,
                "dataset": "synthetic",
                "dataset_options": {**options, "num_classes": network.classes},
                "sparsity": 0.9,
                "epochs": 2 if self.quick else network.epochs,
                **small,
                **changes,
            }
        )

    def milliseconds(self, compute: Callable[[], object], times: int) -> float:
        """Of one call, so many of which are made a round."""
        return milliseconds(compute, self.device, 1 if self.quick else times, 1 if self.quick else 5)

    def replica(self, config: TrainConfig, plan: Plan, data: ImageData) -> "Steps":
        """A replica to be trained step by step."""
        return Steps(Replica(config, data, 0, 10**6, plan), data)


class Steps:
    """A replica that is trained a step a call, without topology steps and short batches."""

    def __init__(self, replica: Replica, data: ImageData) -> None:
        self.replica, self._full = replica, max(1, data.n_train // replica.config.batch_size)
        self._step = 1

    def __call__(self) -> None:
        self.replica.train_step(0, self._step % self._full, self._step)
        self._step += 1


class Figures:
    """Rows, and what is told beside the table."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.rows: list[Row] = []
        self.told: list[str] = []
        self._began = time.monotonic()
        self._data: dict[int, ImageData] = {}
        self.peak_flops = self.peak_bytes = 0.0

    def attempt(self, line: str, measure: Callable[[], None]) -> None:
        """Measure, or say why not; one figure that cannot be had does not cost the others."""
        if time.monotonic() - self._began > BUDGET:
            self.rows.append(not_measured(line, "no time left"))
            return
        try:
            measure()
        except Exception as error:
            self.rows.append(not_measured(line, " ".join(f"{type(error).__name__}: {error}".split())[:300]))
        gc.collect()
        if self.site.device != "cpu":
            torch.cuda.empty_cache()

    def data(self, network: Network) -> ImageData:
        """Made once for each number of classes, on the device."""
        if network.classes not in self._data:
            task = load_task(self.site.config(network)).to(self.site.device)
            assert isinstance(task, ImageData)
            self._data[network.classes] = task
        return self._data[network.classes]

    def ceilings(self) -> None:
        """Bandwidth and arithmetic of this device."""
        device, quick = self.site.device, self.site.quick
        self.peak_bytes = bandwidth(device, 4 if quick else 1024)
        self.peak_flops = arithmetic(device, 128 if quick else 8192, torch.bfloat16)
        self.rows += [
            Row(line="Bandwidth of a copy", ours=self.peak_bytes / 1e9, unit="GB/s"),
            Row(line="Arithmetic, bfloat16 product", ours=self.peak_flops / 1e12, unit="TFLOP/s"),
        ]

    def whole_run(self, network: Network) -> None:
        """Epochs as they are trained, validation and topology steps included, and what 250 of them come to."""
        site, reports = self.site, list[EpochReport]()
        place, config = Workplace(), site.config(network)
        data = self.data(network)

        def epochs(config: TrainConfig) -> float:
            reports.clear()
            train(
                config, on_epoch=lambda report: bool(reports.append(report)), should_stop=lambda: False,
                device=site.device, data=data, workplace=place,
            )  # fmt: skip
            counted = reports[1:]
            return sum(report.seconds for report in counted) / len(counted)

        seconds = epochs(config)
        line = f"{network.model}, 250 epochs"
        note = f"from {len(reports) - 1} of them; {config.sparsity:.0%} sparse, {data.n_train:,} images"
        self.rows.append(Row(line=line, ours=250 * seconds, unit="s", goal=network.in_words, note=note))
        first = reports[0].seconds
        epochs(config.model_copy(update={"lr": config.lr / 2, "alpha": 0.2, "seeds": (1,)}))
        saved = f"first epoch {first:.2f} s in a new worker, {reports[0].seconds:.2f} s in its next trial"
        self.told.append(f"{network.model}: {saved}; {seconds:.2f} s without recording")

    def step(self, network: Network) -> None:
        """A step by every way there is, what it asks of the device, and what a plain loop takes."""
        site, data, config = self.site, self.data(network), self.site.config(network, delta_t=10**6)
        own = make_plan(Execution(), site.device)
        plans = {
            "as it is trained": own,
            "not recorded": replace(own, recorded=False),
            "float32, not recorded": make_plan(FLOAT32, site.device),
        }
        if own.recorded:
            plans["float32, recorded"] = replace(own, autocast=None)
        found, seconds_recording = {}, 0.0
        for name, plan in plans.items():
            steps = site.replica(config, plan, data)
            found[name] = site.milliseconds(steps, 30)
            seconds_recording = max(seconds_recording, steps.replica.seconds_recording)
        on_host = load_task(config)
        assert isinstance(on_host, ImageData)
        loop = PlainLoop(
            "wrn_10_1" if site.quick else network.model, on_host, n_workers=0, augment=True, device=site.device
        )
        found["plain loop"] = site.milliseconds(loop.step, 10)
        line, ours = f"{network.model} step", found.pop("as it is trained")
        plain = found.pop("plain loop")
        self.rows.append(speedup(line, ours, "eager NCHW + DataLoader", plain, unit="ms", note=f"{1e3 / ours:,.0f}/s"))
        self.rows += [speedup(line, ours, name, other, unit="ms") for name, other in found.items()]
        self.told.append(f"{network.model}: recording took {seconds_recording:.2f} s, once for all trials of its shape")
        self._fractions(network, config, own, ours, data)

    def _fractions(self, network: Network, config: TrainConfig, plan: Plan, ours: float, data: ImageData) -> None:
        steps = self.site.replica(config, replace(plan, recorded=False, sparse_convolutions=False), data)
        steps()
        moved = traffic(steps)
        forward = sum(forward_flops(steps.replica.model, data.input_shape).values())
        flops = 3 * forward * min(config.batch_size, data.n_train)
        if self.peak_bytes and self.peak_flops:
            of_bytes, of_flops = (
                amount / (ours / 1e3) / peak for amount, peak in ((moved, self.peak_bytes), (flops, self.peak_flops))
            )
            self.told.append(
                f"{network.model}: a step moves {moved / 1e9:.2f} GB, {of_bytes:.0%} of the bandwidth of a copy, and "
                f"does {flops / 1e12:.3f} TFLOP (dense), {of_flops:.0%} of the arithmetic of a product"
            )
        self.told.append(f"{network.model}: {where_time_goes(steps, self.site.device)}")

    def methods(self, network: Network) -> None:
        """A step of RigL against the same of dense training, and a topology step."""
        site, data, plan = self.site, self.data(network), make_plan(Execution(), self.site.device)
        rigl = site.replica(site.config(network, delta_t=10**6), plan, data)
        dense = site.replica(site.config(network, method="dense"), plan, data)
        sparse_ms, dense_ms = (site.milliseconds(steps, 50) for steps in (rigl, dense))
        line = f"{network.model} step, RigL"
        self.rows.append(share(line, sparse_ms, "dense", dense_ms, unit="ms", goal="≤ 1.01×"))
        optimizer = rigl.replica.sparse
        for name, weight in optimizer.weights.items():
            weight.grad = torch.randn_like(weight) if optimizer.masks.n_active[name] else None
        if site.device != "cpu":
            torch.cuda.set_sync_debug_mode("error")
        try:
            topology_ms = site.milliseconds(lambda: optimizer.topology_step(100), 10)
        finally:
            if site.device != "cpu":
                torch.cuda.set_sync_debug_mode("default")
        note = "the host does not wait" if site.device != "cpu" else ""
        self.rows.append(Row(line=f"{network.model} topology step", ours=topology_ms, unit="ms", note=note))

    def memory(self, network: Network) -> None:
        """The peak of a run against the same dense run, topology steps included."""
        if self.site.device == "cpu":
            raise NotImplementedError("only a GPU's allocator tells; benchmarks.training_run has the CPU's")
        peaks = []
        for method in ("rigl", "dense"):
            gc.collect()
            torch.cuda.empty_cache()
            data = self.data(network)
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            config = self.site.config(network, method=method, delta_t=4)
            steps = self.site.replica(config, make_plan(Execution(), self.site.device), data)
            for _ in range(10):
                steps()
            wait(self.site.device)
            peaks.append((torch.cuda.max_memory_allocated() - before) / 2**20)
            del steps
        line = f"{network.model}, peak memory of a run"
        self.rows.append(share(line, peaks[0], "dense", peaks[1], unit="MiB", goal="≤ 1.25×"))

    def accuracy(self) -> None:
        """Validation accuracy with and without all that is quick, and that what is deterministic is."""
        config = TrainConfig(
            model="wrn", model_options={"depth": 10, "width": 1}, dataset="digits", sparsity=0.8, delta_t=10, lr=0.1,
            epochs=1 if self.site.quick else 8, train_size=64 if self.site.quick else None, batch_size=64, seeds=SEEDS,
        )  # fmt: skip

        def outcome(execution: Execution) -> tuple[tuple[float, ...], tuple[float, ...]]:
            done = train(
                config,
                on_epoch=lambda _: False,
                should_stop=lambda: False,
                device=self.site.device,
                execution=execution,
            )
            return done.val_accuracy, done.loss

        quick, plain, again = outcome(Execution()), outcome(FLOAT32), outcome(FLOAT32)
        each = [", ".join(f"{100 * value:.1f}" for value in of[0]) for of in (quick, plain)]
        means = [100 * sum(of[0]) / len(SEEDS) for of in (quick, plain)]
        note = f"seeds {each[0]}, and {each[1]} in deterministic float32"
        self.rows.append(
            share("digits, accuracy", means[0], "float32", means[1], unit="%", goal="within seed noise", note=note)
        )
        same = 1.0 if plain == again else 0.0
        self.rows.append(Row(line="deterministic float32, twice", ours=same, goal="1 (same bits)"))


def where_time_goes(compute: Callable[[], object], device: str, n: int = 8) -> str:
    """The kernels of a call that is not recorded, by their share of the device's time."""
    kinds = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[kinds.CPU] if device == "cpu" else [kinds.CPU, kinds.CUDA]) as profile:
        compute()
        wait(device)
    own = "self_cpu_time_total" if device == "cpu" else "self_device_time_total"
    events = sorted(profile.key_averages(), key=lambda event: -getattr(event, own))
    total = sum(getattr(event, own) for event in events) or 1.0
    return ", ".join(f"{event.key[:60]} {getattr(event, own) / total:.0%}" for event in events[:n])


def measure() -> list[Row]:
    """The rows of this machine's first GPU, or that it has none."""
    if torch.cuda.is_available():
        return figures_of(Site("cuda", quick=False)).rows
    none = "this machine has no GPU; python -m benchmarks.gpu on one that has measures all"
    return [not_measured(f"{network.model}, 250 epochs", none, goal=network.in_words) for network in NETWORKS]


def figures_of(site: Site) -> Figures:
    """All figures, the most wanted first."""
    prepare_process(Execution(), site.device)
    figures = Figures(site)
    figures.attempt("Ceilings", figures.ceilings)
    for network in NETWORKS[: 1 if site.quick else None]:
        figures.attempt(f"{network.model}, 250 epochs", lambda network=network: figures.whole_run(network))
        figures.attempt(f"{network.model} step", lambda network=network: figures.step(network))
        figures.attempt(f"{network.model} step, RigL", lambda network=network: figures.methods(network))
        figures.attempt(f"{network.model}, peak memory of a run", lambda network=network: figures.memory(network))
    figures.attempt("digits, accuracy", figures.accuracy)
    return figures


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu")
    parser.add_argument("--quick", action="store_true", help="next to no data: that it runs, not how fast")
    parser.add_argument("--json", action="store_true", help="the rows as JSON")
    options = parser.parse_args(arguments)
    if options.device != "cpu" and not torch.cuda.is_available():
        print(table(measure()))
        return
    name = "CPU" if options.device == "cpu" else torch.cuda.get_device_name(options.device)
    figures = figures_of(Site(options.device, options.quick))
    if options.json:
        print(json.dumps([asdict(row) for row in figures.rows], ensure_ascii=False))
        return
    print(f"{name}, torch {torch.__version__}, CUDA {torch.version.cuda}\n\n{table(figures.rows)}\n")
    print("\n".join(figures.told))


if __name__ == "__main__":
    main()
