"""One training run on a CPU: a step of WRN-22-2 and an epoch of LeNet-300-100 against a plain loop: time and memory.

`python -m benchmarks.training_run [--json]`. Ours is `Replica.train_step`: data path, forward, backward, masks,
optimizer. Topology steps have a benchmark of their own.
"""

import statistics
import time
from collections.abc import Callable, Mapping

from benchmarks import in_a_process
from benchmarks.peers import sparselab_epoch
from benchmarks.plain_loop import PlainLoop
from benchmarks.rows import Row, not_measured, share, show, speedup
from rigl_core.config import TrainConfig
from rigl_core.data.images import ImageData
from rigl_core.data.task import load_task
from rigl_core.distributions import erk
from rigl_core.execution import Execution
from rigl_core.plan import Plan, make_plan
from rigl_core.replica import Replica

ROUNDS = 4
STEPS = 1
"Steps a round. Rounds alternate between all that are compared."
PLACES = 7
"How often a comparison to the percent makes its networks anew: where they lie in memory makes a percent by itself."
PAIRS = 12
"Rounds of such a comparison, each time."

CIFAR = {"dataset": "synthetic", "dataset_options": {"n_train": 5120, "n_eval": 128}}
GREY = {"channels": 1, "height": 28, "width": 28, "n_train": 12_800, "n_eval": 128}


def wrn(**changes: object) -> TrainConfig:
    """The report's run on images of the shape of CIFAR-10."""
    return TrainConfig.model_validate(
        {"recipe": "cifar10", "model": "wrn_22_2", **CIFAR, "sparsity": 0.9, "delta_t": 10**6, "epochs": 2, **changes}
    )


def lenet(**changes: object) -> TrainConfig:
    """LeNet-300-100 on images of the shape of MNIST's, a fifth as many."""
    options = {"dataset": "synthetic", "dataset_options": GREY, "model": "lenet_300_100"}
    return TrainConfig.model_validate({**options, "sparsity": 0.9, "delta_t": 10**6, "epochs": 2, **changes})


class Ours:
    """A replica that is trained a step a call."""

    def __init__(self, config: TrainConfig, plan: Plan) -> None:
        data = load_task(config)
        self._per_epoch = -(-data.n_train // config.batch_size)
        self._replica = Replica(config, data, 0, 10**6, plan)
        self._step = 0

    def step(self) -> None:
        """The next batch."""
        self._replica.train_step(*divmod(self._step, self._per_epoch), self._step)
        self._step += 1

    def epoch(self) -> float:
        """All batches, and the mean loss."""
        for _ in range(self._per_epoch):
            self.step()
        return self._replica.take_loss()


def medians(steps: Mapping[str, Callable[[], object]], times: int, rounds: int = ROUNDS) -> dict[str, float]:
    """Milliseconds of one call of each, `times` calls a turn, after one turn that does not count."""
    measured: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            began = time.perf_counter()
            for _ in range(times):
                step()
            if number:
                measured[name].append(1e3 * (time.perf_counter() - began) / times)
    return {name: statistics.median(values) for name, values in measured.items()}


def step_rows() -> list[Row]:
    """A step of WRN-22-2, batch 128."""
    data = load_task(wrn())
    assert isinstance(data, ImageData)
    quick, full = make_plan(Execution(), "cpu"), make_plan(Execution(precision="float32"), "cpu")
    plain = make_plan(Execution(precision="float32", deterministic=True), "cpu")
    found = medians(
        {
            "loop": PlainLoop("wrn_22_2", data, n_workers=2, augment=True).step,
            "loop, no workers": PlainLoop("wrn_22_2", data, n_workers=0, augment=True).step,
            "0.9": Ours(wrn(), quick).step,
            "0.98": Ours(wrn(sparsity=0.98), quick).step,
            "dense": Ours(wrn(method="dense"), quick).step,
            "full": Ours(wrn(), full).step,
            "plain": Ours(wrn(), plain).step,
        },
        STEPS,
    )
    peer = min(found["loop"], found["loop, no workers"])
    line, peer_name = "WRN-22-2 step, batch 128, CPU", "eager NCHW + DataLoader"
    note = quick.describe()["precision"]
    return [
        speedup(f"{line}, S = 0.9", found["0.9"], peer_name, peer, unit="ms", goal="≥ 1.8×", note=note),
        speedup(f"{line}, S = 0.98", found["0.98"], peer_name, peer, unit="ms"),
        speedup(f"{line}, dense", found["dense"], peer_name, peer, unit="ms"),
        speedup(f"{line}, S = 0.9, --precision float32", found["full"], peer_name, peer, unit="ms"),
        speedup(f"{line}, the same, --deterministic", found["plain"], peer_name, peer, unit="ms"),
    ]


def dense_row() -> Row:
    """RigL's step of WRN-22-2 against the same dense step, in many more turns, for a goal of one percent."""
    plan = make_plan(Execution(), "cpu")
    found = [
        medians({name: Ours(wrn(method=name), plan).step for name in ("rigl", "dense")}, STEPS, PAIRS)
        for _ in range(PLACES)
    ]
    ratios = sorted(one["rigl"] / one["dense"] for one in found)
    return Row(
        line="WRN-22-2 step, batch 128, CPU, S = 0.9",
        ours=statistics.median(one["rigl"] for one in found),
        unit="ms",
        peer="the same dense step",
        theirs=statistics.median(one["dense"] for one in found),
        ratio=statistics.median(ratios),
        goal="≤ 1.01×",
        note=f"median of {PLACES} times, {ratios[0]:.3f} to {ratios[-1]:.3f}",
    )


def epoch_rows() -> list[Row]:
    """An epoch of LeNet-300-100, batch 128."""
    data = load_task(lenet())
    assert isinstance(data, ImageData)
    loops = {n: PlainLoop("lenet_300_100", data, n_workers=n, augment=False).epoch for n in (0, 2)}
    ours = Ours(lenet(), make_plan(Execution(), "cpu")).epoch
    found = medians({"ours": ours, "0": loops[0], "2": loops[2]}, 1)
    peer = min(found["0"], found["2"])
    line, note = "LeNet-300-100 epoch, CPU, S = 0.9", f"{data.n_train:,} images"
    rows = [speedup(line, found["ours"], "DataLoader loop", peer, unit="ms", goal="≥ 3×", note=note)]
    return [*rows, sparselab_row(line, data)]


def sparselab_row(line: str, data: ImageData) -> Row:
    """The same epoch with topology steps, and by sparselab, which is given images that are normalised already."""
    config = lenet(delta_t=100)
    sizes, shapes = [28 * 28, 300, 100, 10], {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}
    sparsities = list(erk(shapes, config.sparsity).values())
    images = (data.train.images.flatten(1) / 255.0 - data.mean[0]) / data.std[0]
    peer = "sparselab"
    try:
        theirs = sparselab_epoch(
            images, data.train.labels, sizes, sparsities, drop_fraction=config.alpha, delta_t=config.delta_t
        )
    except ImportError as error:
        return not_measured(line, str(error), peer=peer)
    ours = Ours(config, make_plan(Execution(), "cpu")).epoch
    found = medians({"ours": ours, peer: theirs}, 1)
    return speedup(line, found["ours"], peer, found[peer], unit="ms", note=f"RigL, ΔT = {config.delta_t}")


def start_rows() -> list[Row]:
    """From a worker's start, its imports done, to the end of its first step; a C compiler's half second included."""
    seconds = in_a_process.run("first_step")
    return [Row(line="Worker start to first step, CPU, WRN-22-2", ours=seconds, unit="s", goal="≤ 5 s")]


def memory_rows() -> list[Row]:
    """Peaks above what importing takes, of processes that train either network."""
    rows = []
    for model in ("wrn_22_2", "resnet50"):
        sparse, dense = (in_a_process.run("peak", model, method) for method in ("rigl", "dense"))
        line = f"Peak memory of a run, {model}"
        rows.append(share(line, sparse, "dense run", dense, unit="MiB", goal="≤ 1.25×", note="above imports"))
    return rows


def measure() -> list[Row]:
    """All lines about one run on a CPU."""
    return [*step_rows(), dense_row(), *epoch_rows(), *start_rows(), *memory_rows()]


if __name__ == "__main__":
    show(measure, __doc__)
