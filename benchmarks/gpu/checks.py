"""That a device computes what it should, before anybody asks how fast: a Row's figure is 0 where nothing differs."""

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.session import CannotMeasure, Session
from benchmarks.gpu.site import RESNET, WRN, Network, Site
from benchmarks.rows import Row, share
from rigl_core.config import TrainConfig
from rigl_core.data.task import load_task
from rigl_core.execution import Execution
from rigl_core.masks import MaskState, init_masks
from rigl_core.methods import METHODS
from rigl_core.network import initial_budgets
from rigl_core.plan import Plan
from rigl_core.replica import Replica
from rigl_core.scores import Layer
from rigl_core.topology import drop_and_grow
from rigl_core.train import train
from rigl_core.workplace import Workplace

STEPS = 14
EACH_EPOCH = 5
"""Batches, the last of them short."""

IMAGES = {"n_train": 4 * 64 + 32, "n_eval": 64, "num_classes": 10}
SMALL: Mapping[str, Any] = {
    "dataset": "synthetic",
    "dataset_options": IMAGES,
    "batch_size": 64,
    "delta_t": 4,
    "lr": 0.05,
}
KINDS: Mapping[str, Mapping[str, Any]] = {
    "wrn_22_2, dropout, RigL": {"recipe": "cifar10", "model": "wrn_22_2"},
    "wrn_22_2, SNFS": {"recipe": "cifar10", "model": "wrn_22_2", "method": "snfs"},
    "wrn_22_2, sums of gradients": {"recipe": "cifar10", "model": "wrn_22_2", "grow_accumulation": 3},
    "resnet50, clipped": {"recipe": "cifar100", "model": "resnet50", "warmup_steps": 3, "clip_norm": 1.0},
    "lenet_300_100, Adam": {"model": "lenet_300_100", "optimizer": "adam", "lr": 0.001},
    "char_gru": {
        "model": "char_gru", "model_options": {"width": 0.25}, "dataset": "synthetic_text", "dataset_options": {},
        "train_size": 4 * 16 + 8, "batch_size": 16,
    },
}  # fmt: skip
SEEDS = (0, 1, 2)


class Checks:
    """All of them, as parts of a session.

    Args:
        site: the device.
        session: where to tell what was found.
    """

    def __init__(self, site: Site, session: Session) -> None:
        self.site, self.session = site, session

    def recorded(self) -> None:
        """A recorded training gives the numbers of a computed one; so does one resumed, and one after another trial."""
        kinds = {kind: KINDS[kind] for kind in KINDS if "lenet" in kind or not self.site.tiny}
        failed = []
        for kind, settings in kinds.items():
            try:
                self._recorded(kind, settings, self.site.plan)
            except RuntimeError as error:  # the other kinds may do better
                failed.append(kind)
                self.session.tell(f"{kind}: FAILED, {traceback.format_exc()}")
                last = error
        if failed:
            raise RuntimeError(f"failed: {'; '.join(failed)}") from last

    def compiled(self) -> None:
        """The same of a compiled network, with dropout."""
        kind = "lenet_300_100, Adam" if self.site.tiny else "wrn_22_2, dropout, RigL"
        self._recorded(kind, KINDS[kind], self.site.compiled)

    def _recorded(self, kind: str, settings: Mapping[str, Any], plan: Plan) -> None:
        config = TrainConfig.model_validate({**SMALL, **settings})
        data = load_task(config)
        data = (data if config.train_size is None else data.first(config.train_size)).to(self.site.device)
        with one_algorithm(self.site.device):

            def trained(plan: Plan, config: TrainConfig = config, seed: int = 1) -> Replica:
                replica = Replica(config, data, seed, 100, plan)
                advance(replica, 0, STEPS)
                return replica

            computed, recorded = trained(replace(plan, recorded=False)), trained(plan)
            found = {"": difference(computed, recorded)}
            resumed = trained(plan, seed=2)
            resumed.begin_again(config, 1, 100)
            advance(resumed, 0, STEPS // 2)
            again = trained(plan)
            again.load_state_dict(resumed.state_dict())
            for replica, name in ((resumed, ", in another's place"), (again, ", resumed")):
                advance(replica, STEPS // 2, STEPS)
                found[name] = difference(computed, replica)
        if plan.compiled:
            kind += ", compiled"
        for name, value in found.items():
            self.session.row(Row(line=f"Recorded vs computed: {kind}{name}", ours=value, goal="0 (same numbers)"))

    def masks(self) -> None:
        """A topology step on the device gives the masks of the CPU, ties and missing numbers included."""
        for network in (WRN,) if self.site.tiny else (WRN, RESNET):
            config = self.site.config(network)
            shapes = {name: tuple(weight.shape) for name, weight in self._weights(network).items()}
            random = torch.Generator().manual_seed(0)
            masks = init_masks(shapes, initial_budgets(config, shapes), random)
            different = n = 0
            for coarse in (False, True):
                layers = {}
                for name, shape in shapes.items():
                    weight, gradient = (torch.randn(shape, generator=random) for _ in range(2))
                    if coarse:  # many ties, and a few that are no numbers
                        weight, gradient = weight.mul(2).round(), gradient.mul(2).round()
                        gradient.flatten()[::997] = torch.nan
                    layers[name] = Layer(weight * masks.masks[name], gradient, None, random)
                here, _ = drop_and_grow(layers, masks, METHODS["rigl"], 0.3)
                there, _ = drop_and_grow(self._moved(layers), self._placed(masks), METHODS["rigl"], 0.3)
                assert here.n_active == there.n_active
                different += sum(int((here.masks[name] != there.masks[name].cpu()).sum()) for name in shapes)
                n += sum(mask.numel() for mask in here.masks.values())
            line = f"{network.model}: places where masks differ from the CPU's"
            self.session.row(Row(line=line, ours=different, goal="0", note=f"of {n:,}"))

    def _weights(self, network: Network) -> dict[str, torch.nn.Parameter]:
        return Replica(self.site.config(network), self.site.on_host(network), 0, 1).sparse.weights

    def _moved(self, layers: Mapping[str, Layer]) -> dict[str, Layer]:
        random = torch.Generator(self.site.device)
        return {
            name: Layer(layer.weight.to(self.site.device), layer.gradient.to(self.site.device), None, random)
            for name, layer in layers.items()
        }

    def _placed(self, masks: MaskState) -> MaskState:
        on_device = {name: mask.to(self.site.device) for name, mask in masks.masks.items()}
        return MaskState(on_device, dict(masks.n_active))

    def waiting(self) -> None:
        """Neither weight steps nor topology steps make the host wait."""
        if self.site.device == "cpu":
            raise CannotMeasure("a CPU has nobody to wait for")
        for method in ("rigl", "set"):
            steps = self.site.steps(WRN, method=method, delta_t=4)
            for _ in range(13):
                steps()
            with no_waiting():
                for _ in range(12):
                    steps()
            self.session.row(Row(line=f"{method}: waits in 12 steps, 3 of the topology", ours=0, goal="0"))

    def accuracy(self) -> None:
        """Validation accuracy with and without all that is quick, and that what is deterministic is."""
        config = TrainConfig(
            model="wrn", model_options={"depth": 10, "width": 1}, dataset="digits", sparsity=0.8, delta_t=10, lr=0.1,
            epochs=1 if self.site.tiny else 8, train_size=64 if self.site.tiny else None, batch_size=64, seeds=SEEDS,
        )  # fmt: skip

        def outcome(execution: Execution) -> tuple[tuple[float, ...], tuple[float, ...]]:
            done = train(
                config, on_epoch=lambda _: False, should_stop=lambda: False, device=self.site.device,
                execution=execution, workplace=Workplace(),
            )  # fmt: skip
            return done.val_accuracy, done.loss

        exact = Execution(precision="float32", deterministic=True)
        quick, plain, again = outcome(Execution()), outcome(exact), outcome(exact)
        each = [", ".join(f"{100 * value:.1f}" for value in of[0]) for of in (quick, plain)]
        means = [100 * sum(of[0]) / len(SEEDS) for of in (quick, plain)]
        note = f"seeds {each[0]}, and {each[1]} in deterministic float32"
        goal = "within seed noise"
        self.session.row(share("digits, accuracy", means[0], "float32", means[1], unit="%", goal=goal, note=note))
        differ = sum(a != b for a, b in zip(plain[0] + plain[1], again[0] + again[1], strict=True))
        self.session.row(Row(line="deterministic float32, twice: numbers that differ", ours=differ, goal="0"))


def advance(replica: Replica, first: int, last: int) -> None:
    """Train from step `first` up to `last`."""
    for step in range(first, last):
        replica.train_step(*divmod(step, EACH_EPOCH), step)


def difference(one: Replica, other: Replica) -> float:
    """The greatest ‖a − b‖ / ‖a‖ of all weights, and 1 where masks differ or a number is missing."""
    weights = zip(one.model.parameters(), other.model.parameters(), strict=True)
    masks = zip(one.masks.masks.values(), other.masks.masks.values(), strict=True)
    if not all(torch.equal(mine, theirs) for mine, theirs in masks):
        return 1.0
    return max(_relative(mine.detach(), theirs.detach()) for mine, theirs in weights)


def _relative(mine: Tensor, theirs: Tensor) -> float:
    found = float((mine - theirs).norm() / mine.norm().clamp(min=1e-12))
    return found if found <= 1.0 else 1.0


@contextmanager
def one_algorithm(device: str) -> Iterator[None]:
    """Convolutions by one algorithm that always adds in the same order, so that two trainings can be compared."""
    before = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    if device != "cpu":
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = before


@contextmanager
def no_waiting() -> Iterator[None]:
    """In the block, PyTorch refuses what makes the host wait for the device."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
