"""SparseOptimizer: a torch optimizer that trains only the active weights and, at topology steps, moves the mask."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rigl_core.agenda import Agenda
from rigl_core.agreement import check_same_on_all_ranks, checksums, first_difference
from rigl_core.errors import BadInput
from rigl_core.mask_memory import MaskMemory, select
from rigl_core.masks import MaskState
from rigl_core.methods import Method
from rigl_core.optimizer_input import (
    check_momentum,
    check_optimizer,
    check_weights,
    checked_masks,
    parameters_of,
)
from rigl_core.optimizer_state import checked_state, moments, state_of
from rigl_core.schedules import CubicRamp, UpdateSchedule
from rigl_core.scores import Layer, finite, flat, momentum_of
from rigl_core.stand_in import StandIn
from rigl_core.topology import drop_and_grow, prune


@dataclass(frozen=True)
class TopologyChange:
    """What a topology step did.

    Attributes:
        step: the topology step of the schedule.
        n_drop: layer name to the number of weights dropped; what was grown shows in the counts of the masks.
    """

    step: int
    n_drop: dict[str, int]


class SparseOptimizer(StandIn):
    """Wraps a torch optimizer so that weights outside the masks are, and stay, exactly zero.

    Between updates gradients, optimizer state and weights outside the mask are zero; a method with dense momentum keeps
    gradients and state of all weights. The optimizer is neither patched nor hooked: with zeroed weights,
    autograd's `weight.grad` already is the dense gradient RigL needs.

    It stands in for the wrapped optimizer in PyTorch's tools (learning-rate schedulers, `GradScaler`): `param_groups`,
    `state`, `defaults` and whatever else is not named here are those of the wrapped one. What is outside the masks is
    set to zero and not multiplied, before and after every step. So gradients there may be infinite or NaN, and an
    optimizer may move all weights of a layer (Muon) or have a past. In scores a gradient that is not finite is 0.

    A loop calls `step`. One that captures its steps in a CUDA graph captures `weight_step` for the steps that
    `is_plain` tells, and calls `step` for the others, after a backward pass that is not followed by `weight_step`.
    Masks, weights and optimizer state are changed in place, so that what was captured stays true.

    Args:
        optimizer: any torch optimizer whose `step()` asks for nothing. State of a weight's shape is masked as the
            weight is (moments of SGD, Adam, ...); state of other shapes is left alone (that of Adafactor).
        weights: the maskable weights by name, as `maskable_weights` gives them; all must be in the optimizer. A weight
            that is frozen later (`requires_grad`) keeps its mask meanwhile.
        masks: their masks, which are copied, and laid out in memory as the weights are; the weights are masked at
            once. Layers that are dense now stay dense, unless the method prunes. Names may have the prefixes of
            DistributedDataParallel and torch.compile.
        method: the row of `METHODS` to train by.
        schedule: when the topology changes; a `CubicRamp` for a method with a ramp.
        generator: random numbers for scores that need them, on the weights' device.
        grow_accumulation: steps over which gradients are averaged for the scores of a topology step, its own included.
        clip_norm: at a weight step, scale down all gradients that reach the wrapped optimizer so that their norm taken
            together is at most this; None never does. Those are the gradients of active weights (of all weights where
            momentum is dense) and of what is not maskable, so that a sparse network is not clipped for the gradients
            of weights it does not have. Scores look at the gradients as they were.
        mask_memory: tensors for the masks to live in, those of an optimizer before this one: a step that was recorded
            with that one still reads them. None takes other memory.
        same_on_all_ranks: whether processes of `torch.distributed` train one network: then at the first step and at
            topology steps all compare their masks. False where each trains a network of its own.

    Raises:
        BadInput: masks that do not fit the weights or their own counts, a weight that is frozen or not in the
            optimizer, an optimizer that does not fit (among others one without momentum, for a method that looks at
            it), or a schedule of the wrong kind for the method. Nothing is changed then.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        weights: Mapping[str, nn.Parameter],
        masks: MaskState,
        method: Method,
        schedule: UpdateSchedule | CubicRamp,
        generator: torch.Generator,
        grow_accumulation: int = 1,
        clip_norm: float | None = None,
        mask_memory: MaskMemory | None = None,
        same_on_all_ranks: bool = True,
    ) -> None:
        super().__init__(optimizer)
        self.weights = dict(weights)
        self.method = method
        self.schedule = schedule
        self.generator = generator
        self.grow_accumulation = grow_accumulation
        self.clip_norm = clip_norm
        self.same_on_all_ranks = same_on_all_ranks
        check_optimizer(optimizer)
        check_weights(self.weights, optimizer)
        masks = checked_masks(self.weights, masks, holder="the set of masks", sparse=method.sparse)
        if method.ramp != isinstance(schedule, CubicRamp):
            raise BadInput("a method that prunes along a ramp needs a CubicRamp, any other an UpdateSchedule.")
        if method.needs_momentum:
            check_momentum(optimizer, self.weights)
        past = self._masked_moments()
        self.memory = mask_memory or MaskMemory.like(self.weights, numbers=None if method.sparse else False)
        self.memory.fill(masks.masks)
        self.masks = MaskState(self.memory.masks, masks.n_active)
        self.movable = [name for name, n in masks.n_active.items() if n < masks.masks[name].numel()]
        self._explored = flat(self.masks.masks.values())
        sizes = [weight.numel() for weight in self.weights.values()]
        self.explored = {
            name: part.view(weight.shape)
            for (name, weight), part in zip(self.weights.items(), torch.split(self._explored, sizes), strict=True)
        }
        self._gradient_sum: dict[str, Tensor] = {}
        self._agenda = Agenda(schedule if method.updates_topology else None)
        self._ranks_agree = False
        self._checksums: list[int] | None = None  # of parameters that a loaded state waits for
        # For a state that is loaded before the first step: its masks keep others of the weights.
        self._unmasked = {name: self.weights[name].detach().clone() for name in self.movable}
        with torch.no_grad():
            self._zero_outside_masks(self.weights)
            for moment in past:
                self._zero_outside_masks(moment)

    def explored_fraction(self) -> float:
        """The fraction R_s of maskable weights that were active at least once (Liu et al. 2021, §3.1)."""
        return int(torch.count_nonzero(self._explored)) / self._explored.numel()

    @torch.no_grad()
    def step(  # type: ignore[override]
        self, step: int | None = None, *, closure: Callable[[], object] | None = None
    ) -> TopologyChange | None:
        """Use the gradients in `weight.grad`: a weight step, a topology step, or (where the method says so) both.

        A topology step that was left out, because a `GradScaler` found an overflow, is made up for by the next step.

        Args:
            step: the number of this step, from 0; None is the one after the last.
            closure: what computes the gradients, called first; None where they are there.

        Returns:
            What changed, None if the topology did not.

        Raises:
            BadInput: a weight has no gradient at a topology step that needs one; the masks are not those of other
                ranks; a state was loaded, and the weights are not those it was saved with.
        """
        step = self._agenda.number(step)
        if closure is not None:
            with torch.enable_grad():
                closure()
        self._check_before_first_step()
        self._remember_gradients(step)
        change = None
        if self.changes_topology(step):
            change = self.topology_step(self._agenda.topology_step_at(step))
        if change is None or not self.method.replaces_weight_step:
            self.weight_step()
        self._agenda.go_on_from(step)
        return change

    def changes_topology(self, step: int) -> bool:
        """Whether `step` is a topology step, or the first step after one that was left out."""
        return self._agenda.is_scheduled(step) or self._agenda.is_overdue(step)

    def is_plain(self, step: int) -> bool:
        """Whether all that `step(step)` does is `weight_step()`."""
        return not self.changes_topology(step) and not self._sums_gradients(step)

    @torch.no_grad()
    def weight_step(self) -> None:
        """Train the active weights; on a device nothing is read back, so that a CUDA graph can capture it."""
        self.forget_unmasked()
        if self.method.sparse:
            gradients = {name: weight.grad for name, weight in self.weights.items() if weight.grad is not None}
            # Momentum that is dense would keep for ever what is not finite.
            self.memory.zero_outside(gradients, only_not_finite=self.method.dense_momentum)
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters_of(self.optimizer), self.clip_norm)
        self.optimizer.step()
        self._zero_outside_masks(self.weights)

    @torch.no_grad()
    def topology_step(self, step: int) -> TopologyChange:
        """Move the masks, whatever the schedule says of `step`; its drop fraction or sparsity is what counts.

        Raises:
            BadInput: a weight has no gradient, or no momentum, and a score needs one; or other ranks have other masks.
        """
        trained = {name: weight for name, weight in self.weights.items() if weight.requires_grad}
        if isinstance(self.schedule, CubicRamp):
            new, n_drop = prune(trained, self.masks, self.schedule.sparsity_at(step))
        else:
            if self.method.needs_momentum:
                check_momentum(self.optimizer, trained)
            layers = {name: self._layer(name, step) for name in self.movable if name in trained}
            new, n_drop = drop_and_grow(layers, self.masks, self.method, self.schedule.drop_fraction(step))
        if self.same_on_all_ranks:
            check_same_on_all_ranks(new.masks, None)
        self.forget_unmasked()
        self._gradient_sum.clear()
        self._move_to(new)
        return TopologyChange(step, {name: n_drop.get(name, 0) for name in self.weights})

    def weight_steps(self, n_steps: int) -> int:
        """How many of the first `n_steps` steps are weight steps: those the wrapped optimizer has made after them."""
        if not self.method.replaces_weight_step:
            return n_steps
        return n_steps - sum(map(self._agenda.is_scheduled, range(n_steps)))

    def sums_gradients_after(self, step: int) -> bool:
        """Whether a sum of gradients is kept after `step` for a topology step to come."""
        return self._sums_gradients(step) and not self.changes_topology(step)

    def forget_unmasked(self) -> None:
        """Give up the copy of the weights as they were before they were masked, as the first step does.

        `load_state_dict` takes weights from it where a model's state was loaded before the masks were known.
        """
        self._unmasked.clear()

    def _sums_gradients(self, step: int) -> bool:
        if self.grow_accumulation == 1 or self.method.drop is None:
            return False
        ahead = range(step, step + self.grow_accumulation)
        return self._agenda.is_overdue(step) or any(map(self._agenda.is_scheduled, ahead))

    def _remember_gradients(self, step: int) -> None:
        """Add up the dense gradients of the last `grow_accumulation` steps up to a topology step."""
        if self._sums_gradients(step):
            for name in self.movable:
                gradient = self.weights[name].grad
                if gradient is not None and name in self._gradient_sum:
                    self._gradient_sum[name].add_(finite(gradient))
                elif gradient is not None:
                    self._gradient_sum[name] = finite(gradient)

    def _layer(self, name: str, step: int) -> Layer:
        weight = self.weights[name]
        if weight.grad is None:
            raise BadInput(f"weight {name} has no gradient at topology step {step}; call backward() before step().")
        # The sum ranks like the mean, but a statistic across layers must not depend on how many were added.
        gradient = self._gradient_sum[name] / self.grow_accumulation if name in self._gradient_sum else weight.grad
        momentum = None
        if self.method.needs_momentum:
            state = state_of(self.optimizer, weight)
            momentum = momentum_of(state)
            if momentum is None and state:
                kind = type(self.optimizer).__name__
                raise BadInput(f"the method looks at momentum, and {kind} keeps only {', '.join(state)} of {name}.")
        return Layer(weight, finite(gradient), None if momentum is None else finite(momentum), self.generator)

    def _check_before_first_step(self) -> None:
        if self._checksums is not None:
            parameters = list(parameters_of(self.optimizer))
            if (i := first_difference(parameters, self._checksums)) is not None:
                names = {id(weight): f"weight {name}" for name, weight in self.weights.items()}
                raise BadInput(
                    f"{names.get(id(parameters[i]), f'parameter {i} of the optimizer')} is not as it was when the "
                    "loaded state was saved: load the model's state, too, before the first step. To train other "
                    "weights, give the saved masks to a new SparseOptimizer."
                )
            self._checksums = None
        if self.same_on_all_ranks and not self._ranks_agree:
            draws = "random" in (self.method.drop, self.method.grow, self.method.redistribute)
            check_same_on_all_ranks(self.masks.masks, self.generator if draws else None)
            self._ranks_agree = True

    def _masked_moments(self) -> list[dict[str, Tensor]]:
        """What the optimizer remembers of the weights and must not remember outside the masks."""
        keeps_all = self.method.dense_momentum or not self.method.sparse
        return [] if keeps_all else list(moments(self.optimizer, self.weights))

    def _zero_outside_masks(self, tensors: Mapping[str, Tensor]) -> None:
        """Set tensors of the weights' shapes to zero outside the masks."""
        if self.method.sparse:
            self.memory.zero_outside(tensors)

    def _move_to(self, new: MaskState) -> None:
        """Take over the new masks; dropped weights and their optimizer state become zero, and so does that of newborns.

        Newborn weights already are: they were outside the mask. Where momentum is dense, that of dropped weights stays.
        """
        remembered = list(moments(self.optimizer, self.weights))
        if not self.method.dense_momentum:
            for moment in remembered:
                self._zero_outside_masks(moment)  # of the newborn, where something else than a step filled it
        moved = [new.masks[name] for name in self.weights]
        others = self.memory.move_to(moved, newborn=self.method.dense_momentum)
        self.masks.n_active.update(new.n_active)
        self._explored |= flat(moved)
        self._zero_outside_masks(self.weights)
        for moment in remembered:
            if self.method.dense_momentum:
                select(list(moment.values()), [others[name] for name in moment])
            else:
                self._zero_outside_masks(moment)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the weights: optimizer state, masks, what was explored, and the generator's state.

        Of the weights there are checksums, by which `load_state_dict` tells whether the model was restored as well.
        """
        return {
            "optimizer": self.optimizer.state_dict(),
            "masks": dict(self.masks.masks),
            "n_active": dict(self.masks.n_active),
            "movable": list(self.movable),
            "explored": dict(self.explored),
            "gradient_sum": dict(self._gradient_sum),
            "generator": self.generator.get_state(),
            "checksums": checksums(parameters_of(self.optimizer)),
            "step": self._agenda.last,
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up where `state_dict` left off.

        The model's state can be loaded before this optimizer is made, after that, or after this call. If it is not
        loaded at all, the first `step` says so. Names may have the prefixes of DistributedDataParallel and
        torch.compile.

        Raises:
            BadInput: the state is not of these layers or this optimizer, or damaged. Nothing is changed then.
        """
        saved = checked_state(state, self.weights, self.optimizer, self.generator, sparse=self.method.sparse)
        self.optimizer.load_state_dict(state["optimizer"])
        for name, before in self._unmasked.items():
            weight = self.weights[name]
            if torch.equal(weight, before.masked_fill(~self.masks.masks[name], 0.0)):  # else it was loaded since
                weight.copy_(before)
        self.movable = saved.movable
        self.masks.n_active.update(saved.masks.n_active)
        self.memory.fill(saved.masks.masks)
        for name, explored in self.explored.items():
            explored.copy_(saved.explored[name])
        self._gradient_sum = {
            name: summed.to(self.weights[name].device, copy=True) for name, summed in saved.gradient_sum.items()
        }
        self.generator.set_state(saved.generator)
        self._zero_outside_masks(self.weights)
        for moment in self._masked_moments():
            self._zero_outside_masks(moment)
        self._agenda.go_on_from(None)
        self._agenda.go_on_from(saved.step)
        self._checksums = saved.checksums  # the weights may be loaded later; the next step compares
