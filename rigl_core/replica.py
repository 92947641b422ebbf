"""One replica: one seed's network with its optimizer, masks and random streams."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from rigl_core.config import TrainConfig
from rigl_core.data.augment import AUGMENTATIONS
from rigl_core.data.task import Task
from rigl_core.distributions import DISTRIBUTIONS, Shape, layer_budgets
from rigl_core.errors import BadInput
from rigl_core.masks import MaskState, init_masks, maskable_weights
from rigl_core.methods import get_method
from rigl_core.models import get_model
from rigl_core.models.dropout import seed_dropout
from rigl_core.optimizer import SparseOptimizer, TopologyChange
from rigl_core.runtime import derive_seed, make_generator


@dataclass(frozen=True)
class Evaluation:
    """How a network does on held-out data.

    Attributes:
        accuracy: fraction of the targets it ranks first, in [0, 1]: labels of images, next characters of text.
        bits_per_character: mean of −log₂ of the probability it gives the next character (log₂ of the perplexity); None
            for images.
    """

    accuracy: float
    bits_per_character: float | None


def build_model(config: TrainConfig, data: Task, seed: int, *, narrow: bool | None = None) -> nn.Module:
    """The network of `config` for `data`, on the CPU, its weights a function of `seed` alone.

    Args:
        config: what to train.
        data: only what it says of itself to models matters (`model_arguments`).
        seed: of the weights.
        narrow: whether to build it at width √(1 − S); None as the method says.
    """
    options: dict[str, Any] = dict(config.model_options)
    if get_method(config.method).narrow if narrow is None else narrow:
        options["width_multiplier"] = math.sqrt(1.0 - config.sparsity)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        model: nn.Module = get_model(config.model)(**data.model_arguments(), **options)
    return model


def initial_budgets(config: TrainConfig, shapes: Mapping[str, Shape]) -> dict[str, int]:
    """How many weights of each layer are active at the start; all of them for a method that starts dense.

    Raises:
        BadInput: `config.layer_sparsity` is not for these layers.
    """
    method = get_method(config.method)
    if not method.sparse or method.ramp:
        return layer_budgets(shapes, dict.fromkeys(shapes, 0.0))
    if config.layer_sparsity is not None:
        _check_layers(
            dict.fromkeys(shapes, "there"), dict.fromkeys(config.layer_sparsity, "there"), config.distribution
        )
        return layer_budgets(shapes, config.layer_sparsity)
    if config.distribution == "uniform" and get_model(config.model).reads == "text":
        # The first layer, which `uniform` leaves dense, is the embedding here, and that is never masked.
        return layer_budgets(shapes, dict.fromkeys(shapes, config.sparsity))
    return layer_budgets(shapes, DISTRIBUTIONS[config.distribution](shapes, config.sparsity))


def _check_layers(own: Mapping[str, object], given: Mapping[str, object], source: str | None) -> None:
    """Refuse what another network ended with: layers by name, with their shapes where those are known."""
    for name in (*own, *given):
        theirs, ours = given.get(name, "not there"), own.get(name, "not there")
        if theirs != ours:
            raise BadInput(f"{source} does not fit this network: layer {name} is {theirs} in it and {ours} here.")


class Replica:
    """One seed's network in training.

    Nothing here depends on the other replicas of a run or on torch's global random numbers, so replica i of a lockstep
    run equals a run with that seed alone.

    Args:
        config: what to train.
        data: what to learn from, on `device`.
        seed: of this replica.
        n_steps: mini-batches of the whole training.
        device: a torch device.
        masks: those to begin with, on any device; None draws them at random (DESIGN §5).

    Raises:
        BadInput: the masks or the sparsities given are not for the layers of this network.
    """

    def __init__(
        self, config: TrainConfig, data: Task, seed: int, n_steps: int, device: str, masks: MaskState | None = None
    ) -> None:
        self.config, self.data, self.seed, self.device = config, data, seed, device
        self.model = build_model(config, data, seed).to(device)
        self.augment_random = make_generator(seed, "augment", device=device)
        self.dropout_random = make_generator(seed, "dropout", device=device)
        seed_dropout(self.model, self.dropout_random)
        self.augment = AUGMENTATIONS[config.augmentation]
        weights = maskable_weights(self.model)
        shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
        self.sparse = SparseOptimizer(
            _optimizer(config, self.model, weights),
            weights=weights,
            masks=self._initial_masks(shapes, masks),
            method=get_method(config.method),
            schedule=config.topology_schedule(n_steps),
            generator=make_generator(seed, "topology", device=device),
            grow_accumulation=config.grow_accumulation,
            clip_norm=config.clip_norm,
        )
        self.loss_sum = torch.zeros((), device=device)
        self._order: tuple[int, Tensor] | None = None

    def _initial_masks(self, shapes: Mapping[str, Shape], given: MaskState | None) -> MaskState:
        if given is None:
            budgets = initial_budgets(self.config, shapes)
            return init_masks(shapes, budgets, make_generator(self.seed, "masks"), self.device)
        _check_layers(shapes, {name: tuple(mask.shape) for name, mask in given.masks.items()}, self.config.masks)
        in_order = {name: given.masks[name].to(self.device) for name in shapes}
        return MaskState(in_order, {name: given.n_active[name] for name in shapes})

    @property
    def masks(self) -> MaskState:
        """The masks as they are now."""
        return self.sparse.masks

    def order(self, epoch: int) -> Tensor:
        """The permutation of the training items in `epoch`, int64 (N,): a function of seed and epoch alone."""
        if self._order is None or self._order[0] != epoch:
            generator = make_generator(self.seed, "order", epoch)
            order = torch.randperm(self.data.n_train, generator=generator).to(self.device)
            self._order = (epoch, order)
        return self._order[1]

    def train_step(self, epoch: int, batch: int, step: int) -> TopologyChange | None:
        """One mini-batch: the `batch`-th of `epoch`, the `step`-th of the training. Nothing waits for the device."""
        config = self.config
        chosen = self.order(epoch)[batch * config.batch_size : (batch + 1) * config.batch_size]
        inputs, targets = self.data.batch(chosen)
        inputs = self.augment(inputs, self.augment_random)
        self.model.train()
        self.sparse.zero_grad()
        logits, targets = _one_row_a_target(self.model(inputs), targets)
        loss = functional.cross_entropy(logits, targets, label_smoothing=config.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        for group in self.sparse.optimizer.param_groups:
            group["lr"] = config.lr_at(step)
        change = self.sparse.step(step)
        self.loss_sum += loss.detach() * len(chosen)
        return change

    def take_loss(self) -> float:
        """The mean loss a training item (each the mean of its targets') since the last call."""
        mean = float(self.loss_sum) / self.data.n_train
        self.loss_sum = torch.zeros_like(self.loss_sum)
        return mean

    @torch.no_grad()
    def evaluate(self, part: Literal["val", "test"]) -> Evaluation:
        """How the network does on the validation or the test part. The device is waited for once."""
        self.model.eval()
        n_targets, n_correct, nats = 0, [], []
        for inputs, targets in self.data.held_out(part):
            logits, targets = _one_row_a_target(self.model(inputs), targets)
            n_targets += len(targets)
            n_correct.append((logits.argmax(1) == targets).sum())
            if self.data.predicts_characters:
                nats.append(functional.cross_entropy(logits, targets, reduction="sum"))
        bits = math.fsum(torch.stack(nats).tolist()) / math.log(2) / n_targets if nats else None
        return Evaluation(int(torch.stack(n_correct).sum()) / n_targets, bits)

    def state_dict(self) -> dict[str, Any]:
        """Everything that training changes."""
        return {
            "model": self.model.state_dict(),
            "sparse": self.sparse.state_dict(),
            "augment_random": self.augment_random.get_state(),
            "dropout_random": self.dropout_random.get_state(),
            "loss_sum": self.loss_sum,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up where `state_dict` left off."""
        self.model.load_state_dict(state["model"])
        self.sparse.load_state_dict(state["sparse"])
        self.augment_random.set_state(state["augment_random"])
        self.dropout_random.set_state(state["dropout_random"])
        self.loss_sum = state["loss_sum"].to(self.device)


def _one_row_a_target(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (T, K) and targets (T,) of a whole batch; every position of a sequence is a target of its own."""
    return logits.flatten(0, -2), targets.flatten()


def _optimizer(config: TrainConfig, model: nn.Module, weights: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer, with L2 on the maskable weights only, not on biases, normalisation, embeddings (report, §4)."""
    maskable = {id(weight) for weight in weights.values()}
    others = [parameter for parameter in model.parameters() if id(parameter) not in maskable]
    groups = [{"params": list(weights.values()), "weight_decay": config.weight_decay}]
    if others:
        groups.append({"params": others, "weight_decay": 0.0})
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, lr=config.lr)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov)
