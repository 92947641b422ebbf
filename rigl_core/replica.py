"""One replica: one seed's network with its optimizer, masks and random streams."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from rigl_core.compiled import CompiledModel
from rigl_core.config import TrainConfig
from rigl_core.data.augment import AUGMENTATIONS
from rigl_core.data.task import Task
from rigl_core.distributions import Shape
from rigl_core.mask_memory import MaskMemory
from rigl_core.masks import MaskState, init_masks, maskable_weights
from rigl_core.methods import get_method
from rigl_core.models.dropout import seed_dropout
from rigl_core.native.sparse_convolution import SparseConvolutions
from rigl_core.network import build_model, check_layers, initial_budgets, make_optimizer
from rigl_core.optimizer import SparseOptimizer, TopologyChange
from rigl_core.plan import Plan
from rigl_core.recording import CudaRecorder, RecordedSteps, RecorderOf, Step
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


class Replica:
    """One seed's network in training, in memory that never moves (see `rigl_core.recording`).

    Nothing here depends on the other replicas of a run or on torch's global random numbers, so replica i of a lockstep
    run equals a run with that seed alone.

    Args:
        config: what to train.
        data: what to learn from, on the device of `plan`.
        seed: of this replica.
        n_steps: mini-batches of the whole training.
        plan: how to compute.
        masks: those to begin with, on any device; None draws them at random.
        recorder: makes what records steps, where `plan` wants that.

    Raises:
        BadInput: the masks or the sparsities given are not for the layers of this network.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: Task,
        seed: int,
        n_steps: int,
        plan: Plan | str = "cpu",
        masks: MaskState | None = None,
        recorder: RecorderOf = CudaRecorder,
    ) -> None:
        self.data, self.plan = data, Plan(device=plan) if isinstance(plan, str) else plan
        self.device = self.plan.device
        self.model = self.plan.place(build_model(config, data, seed))
        self.augment = AUGMENTATIONS[config.augmentation]
        self.augment_random = torch.Generator(self.device)
        self.dropout_random = torch.Generator(self.device)
        seed_dropout(self.model, self.dropout_random)
        self._weights = maskable_weights(self.model)
        self._optimizer = make_optimizer(config, self.model, self._weights, fused=self.plan.fused)
        self._lr: Tensor | None = None
        self._steps: RecordedSteps | None = None
        if self.plan.recorded:
            self._lr = torch.empty((), device=self.device)
            generators = [self.augment_random, self.dropout_random]
            self._steps = RecordedSteps(recorder(generators), list(self.model.parameters()))
        self._compiled = CompiledModel(self.model, self.plan.compiled) if self.plan.compiled else None
        self._convolutions = SparseConvolutions(self.model) if self.plan.sparse_convolutions else None
        self.loss_sum = torch.zeros((), device=self.device)
        self._mask_memory: MaskMemory | None = None
        self._begin(config, seed, n_steps, masks)

    def begin_again(self, config: TrainConfig, seed: int, n_steps: int, masks: MaskState | None = None) -> None:
        """Be the replica of another training, with the same memory and what was recorded on it.

        Args:
            config: must be of the same `rigl_core.workplace.shape_of` as the one before.
            seed: of this replica from now on.
            n_steps: mini-batches of the whole training.
            masks: as on construction.
        """
        self.model.load_state_dict(build_model(config, self.data, seed).state_dict())
        for state in self._optimizer.state.values():
            for value in state.values():
                value.zero_()
        self._begin(config, seed, n_steps, masks)

    def _begin(self, config: TrainConfig, seed: int, n_steps: int, masks: MaskState | None) -> None:
        self.config, self.seed = config, seed
        self.augment_random.manual_seed(derive_seed(seed, "augment"))
        self.dropout_random.manual_seed(derive_seed(seed, "dropout"))
        shapes = {name: tuple(weight.shape) for name, weight in self._weights.items()}
        self.sparse = SparseOptimizer(
            self._optimizer,
            weights=self._weights,
            masks=self._initial_masks(shapes, masks),
            method=get_method(config.method),
            schedule=config.topology_schedule(n_steps),
            generator=make_generator(seed, "topology", device=self.device),
            grow_accumulation=config.grow_accumulation,
            clip_norm=config.clip_norm,
            mask_memory=self._mask_memory,
        )
        self.sparse.forget_unmasked()  # `load_state_dict` brings the weights along
        self._mask_memory = self.sparse.memory
        self._follow_masks()
        self.loss_sum.zero_()
        self._order: tuple[int, Tensor] | None = None

    def _initial_masks(self, shapes: Mapping[str, Shape], given: MaskState | None) -> MaskState:
        if given is None:
            budgets = initial_budgets(self.config, shapes)
            return init_masks(shapes, budgets, make_generator(self.seed, "masks"), self.device)
        check_layers(shapes, {name: tuple(mask.shape) for name, mask in given.masks.items()}, self.config.masks)
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
        chosen = self.order(epoch)[batch * self.config.batch_size : (batch + 1) * self.config.batch_size]
        if not self.model.training:  # to tell all modules takes as long as to launch what was recorded
            self.model.train()
        self._set_lr(self.config.lr_at(step))
        plain = self.sparse.is_plain(step)
        if self._convolutions is not None:
            self._convolutions.want_dense_gradients(not plain or self.sparse.method.dense_momentum)
        self._compute("weight step" if plain else "gradients", self._weight_step if plain else self._gradients, chosen)
        if plain:
            return None
        change = self.sparse.step(step)
        if change is not None:
            self._follow_masks()
        return change

    def _compute(self, name: str, step: Step, chosen: Tensor) -> None:
        if self._steps is None:
            step(chosen)
        else:
            self._steps(name, step, chosen)

    def _weight_step(self, chosen: Tensor) -> None:
        self._gradients(chosen)
        self.sparse.weight_step()

    def _gradients(self, chosen: Tensor) -> None:
        """The gradients of the mean loss of these training items, whose loss is added up."""
        inputs, targets = self.data.batch(chosen)
        inputs = self.plan.laid_out(self.augment(inputs, self.augment_random))
        self.sparse.zero_grad()
        whole = len(chosen) == self.config.batch_size  # for a few short batches nobody compiles
        model = self._compiled if self._compiled is not None and whole else self.model
        with self.plan.arithmetic():
            logits, targets = _one_row_a_target(model(inputs), targets)
            loss = functional.cross_entropy(logits, targets, label_smoothing=self.config.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        self.loss_sum += loss.detach() * len(chosen)

    def _set_lr(self, lr: float) -> None:
        if self._lr is not None:  # a recorded step reads it there
            self._lr.fill_(lr)
        for group in self._optimizer.param_groups:
            group["lr"] = lr if self._lr is None else self._lr

    def _follow_masks(self) -> None:
        if self._convolutions is not None:
            self._convolutions.follow(self.masks.masks, self.masks.n_active)

    def describe(self) -> dict[str, str]:
        """How it computes, for the record of a run."""
        convolutions = "dense" if self._convolutions is None else self._convolutions.kind
        return {**self.plan.describe(), "convolutions": convolutions}

    @property
    def seconds_recording(self) -> float:
        """Spent on recording steps, once for all trainings of this shape."""
        return 0.0 if self._steps is None else self._steps.seconds

    def take_loss(self) -> float:
        """The mean loss a training item (each the mean of its targets') since the last call."""
        mean = float(self.loss_sum) / self.data.n_train
        self.loss_sum.zero_()
        return mean

    @torch.no_grad()
    def evaluate(self, part: Literal["val", "test"]) -> Evaluation:
        """How the network does on the validation or the test part. The device is waited for once."""
        self.model.eval()
        n_targets, n_correct, nats = 0, [], []
        for inputs, targets in self.data.held_out(part):
            with self.plan.arithmetic():
                logits = self.model(self.plan.laid_out(inputs)).float()
            logits, targets = _one_row_a_target(logits, targets)
            n_targets += len(targets)
            n_correct.append((logits.argmax(1) == targets).sum())
            if self.data.predicts_characters:
                nats.append(functional.cross_entropy(logits, targets, reduction="sum"))
        bits = math.fsum(torch.stack(nats).tolist()) / math.log(2) / n_targets if nats else None
        return Evaluation(int(torch.stack(n_correct).sum()) / n_targets, bits)

    def state_dict(self) -> dict[str, Any]:
        """Everything that training changes."""
        sparse = self.sparse.state_dict()
        for group in sparse["optimizer"]["param_groups"]:
            group["lr"] = float(group["lr"])  # which may be a tensor
        for part in ("checksums", "step"):  # a run has its weights and its steps itself
            del sparse[part]
        return {
            "model": self.model.state_dict(),
            "sparse": sparse,
            "augment_random": self.augment_random.get_state(),
            "dropout_random": self.dropout_random.get_state(),
            "loss_sum": self.loss_sum.clone(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up where `state_dict` left off."""
        self.model.load_state_dict(state["model"])
        before = {parameter: dict(kept) for parameter, kept in self._optimizer.state.items()}
        self.sparse.load_state_dict(state["sparse"])
        for parameter, kept in before.items():  # torch's optimizers take other memory for what they load
            loaded = self._optimizer.state[parameter]
            for name, tensor in kept.items():
                loaded[name] = tensor.copy_(loaded[name])
        self._follow_masks()
        self.augment_random.set_state(state["augment_random"])
        self.dropout_random.set_state(state["dropout_random"])
        self.loss_sum.copy_(state["loss_sum"])


def _one_row_a_target(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (T, K) and targets (T,) of a whole batch; every position of a sequence is a target of its own."""
    return logits.flatten(0, -2), targets.flatten()
