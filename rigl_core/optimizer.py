"""SparseOptimizer: a torch optimizer that trains only the active weights and, at topology steps, moves the mask."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rigl_core.errors import BadInput
from rigl_core.mask_memory import MaskMemory
from rigl_core.masks import MaskState
from rigl_core.methods import Method
from rigl_core.schedules import CubicRamp, UpdateSchedule
from rigl_core.scores import Layer, flat, momentum_of
from rigl_core.topology import drop_and_grow, prune


@dataclass(frozen=True)
class TopologyChange:
    """What a topology step did.

    Attributes:
        step: when.
        n_drop: layer name to the number of weights dropped; what was grown shows in the counts of the masks.
    """

    step: int
    n_drop: dict[str, int]


class SparseOptimizer:
    """Wraps a torch optimizer so that weights outside the masks are, and stay, exactly zero.

    Between updates gradients, optimizer state and weights outside the mask are zero; a method with dense momentum keeps
    gradients and state of all weights. The optimizer is neither patched nor hooked: with zeroed weights,
    autograd's `weight.grad` already is the dense gradient RigL needs.

    A loop calls `step`. One that captures its steps in a CUDA graph captures `weight_step` for the steps that
    `is_plain` tells, and calls `step` for the others, after a backward pass that is not followed by `weight_step`.
    Masks, weights and optimizer state are changed in place, so that what was captured stays true.

    Args:
        optimizer: any torch optimizer whose state is one tensor of the weight's shape per moment (SGD, Adam, ...).
        weights: the maskable weights by name, as `maskable_weights` gives them; all must be in the optimizer.
        masks: their masks, which are copied, and laid out in memory as the weights are; the weights are masked at
            once. Layers that are dense now stay dense, unless the method prunes.
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

    Raises:
        BadInput: a weight without a mask or not in the optimizer, a mask of another shape, or a schedule of the wrong
            kind for the method.
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
    ) -> None:
        self.optimizer = optimizer
        self.weights = dict(weights)
        self.method = method
        self.schedule = schedule
        self.generator = generator
        self.grow_accumulation = grow_accumulation
        self.clip_norm = clip_norm
        optimized = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for name, weight in self.weights.items():
            if name not in masks.masks or masks.masks[name].shape != weight.shape:
                raise BadInput(f"weight {name} of shape {tuple(weight.shape)} has no mask of that shape.")
            if id(weight) not in optimized:
                raise BadInput(f"weight {name} is not among the optimizer's parameters.")
        if method.ramp != isinstance(schedule, CubicRamp):
            raise BadInput("a method that prunes along a ramp needs a CubicRamp, any other an UpdateSchedule.")
        self.memory = mask_memory or MaskMemory.like(self.weights, numbers=None if method.sparse else False)
        self.memory.fill(masks.masks)
        self.masks = MaskState(self.memory.masks, dict(masks.n_active))
        self.movable = [name for name in self.weights if masks.n_active[name] < masks.masks[name].numel()]
        self._explored = flat(self.masks.masks.values())
        sizes = [weight.numel() for weight in self.weights.values()]
        self.explored = {
            name: part.view(weight.shape)
            for (name, weight), part in zip(self.weights.items(), torch.split(self._explored, sizes), strict=True)
        }
        self._gradient_sum: dict[str, Tensor] = {}
        with torch.no_grad():
            self._zero_outside_masks(self.weights)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def explored_fraction(self) -> float:
        """The fraction R_s of maskable weights that were active at least once (Liu et al. 2021, §3.1)."""
        return int(torch.count_nonzero(self._explored)) / self._explored.numel()

    @torch.no_grad()
    def step(self, step: int) -> TopologyChange | None:
        """Use the gradients in `weight.grad`: a weight step, a topology step, or (where the method says so) both.

        Args:
            step: the number of this step, from 0.

        Returns:
            What changed, None if the topology did not.

        Raises:
            BadInput: a weight has no gradient at a topology step that needs one.
        """
        self._remember_gradients(step)
        if not self.changes_topology(step):
            self.weight_step()
            return None
        change = self.topology_step(step)
        if not self.method.replaces_weight_step:
            self.weight_step()
        return change

    def changes_topology(self, step: int) -> bool:
        """Whether `step` is a topology step."""
        return self.method.updates_topology and self.schedule.is_update_step(step)

    def is_plain(self, step: int) -> bool:
        """Whether all that `step(step)` does is `weight_step()`."""
        return not self.changes_topology(step) and not self._sums_gradients(step)

    @torch.no_grad()
    def weight_step(self) -> None:
        """Train the active weights; on a device nothing is read back, so that a CUDA graph can capture it."""
        if not self.method.dense_momentum:
            self._zero_outside_masks(
                {name: weight.grad for name, weight in self.weights.items() if weight.grad is not None}
            )
        if self.clip_norm is not None:
            parameters = (p for group in self.optimizer.param_groups for p in group["params"])
            nn.utils.clip_grad_norm_(parameters, self.clip_norm)
        self.optimizer.step()
        if self.method.dense_momentum:
            self._zero_outside_masks(self.weights)

    @torch.no_grad()
    def topology_step(self, step: int) -> TopologyChange:
        """Move the masks, whatever the schedule says of `step`; its drop fraction or sparsity is what counts.

        Raises:
            BadInput: a weight has no gradient, and a score needs one.
        """
        if isinstance(self.schedule, CubicRamp):
            new, n_drop = prune(self.weights, self.masks, self.schedule.sparsity_at(step))
        else:
            layers = {name: self._layer(name, step) for name in self.movable}
            new, n_drop = drop_and_grow(layers, self.masks, self.method, self.schedule.drop_fraction(step))
        self._gradient_sum.clear()
        self._move_to(new)
        return TopologyChange(step, {name: n_drop.get(name, 0) for name in self.weights})

    def weight_steps(self, n_steps: int) -> int:
        """How many of the first `n_steps` steps are weight steps: those the wrapped optimizer has made after them."""
        if not self.method.replaces_weight_step:
            return n_steps
        return n_steps - sum(map(self.changes_topology, range(n_steps)))

    def sums_gradients_after(self, step: int) -> bool:
        """Whether a sum of gradients is kept after `step` for a topology step to come."""
        return self._sums_gradients(step) and not self.changes_topology(step)

    def _sums_gradients(self, step: int) -> bool:
        if self.grow_accumulation == 1 or self.method.drop is None:
            return False
        return any(self.schedule.is_update_step(step + ahead) for ahead in range(self.grow_accumulation))

    def _remember_gradients(self, step: int) -> None:
        """Add up the dense gradients of the last `grow_accumulation` steps up to a topology step."""
        if self._sums_gradients(step):
            for name in self.movable:
                gradient = self.weights[name].grad
                if gradient is not None and name in self._gradient_sum:
                    self._gradient_sum[name].add_(gradient)
                elif gradient is not None:
                    self._gradient_sum[name] = gradient.clone()

    def _layer(self, name: str, step: int) -> Layer:
        weight = self.weights[name]
        if weight.grad is None:
            raise BadInput(f"weight {name} has no gradient at topology step {step}; call backward() before step().")
        # The sum ranks like the mean, but a statistic across layers must not depend on how many were added.
        gradient = self._gradient_sum[name] / self.grow_accumulation if name in self._gradient_sum else weight.grad
        momentum = momentum_of(self._state(weight)) if self.method.needs_momentum else None
        return Layer(weight, gradient, momentum, self.generator)

    def _state(self, weight: nn.Parameter) -> dict[str, Any]:
        # Not `state[weight]`: the mapping makes an empty entry for every key it is asked for.
        state: dict[str, Any] = self.optimizer.state.get(weight, {})
        return state

    def _zero_outside_masks(self, tensors: Mapping[str, Tensor]) -> None:
        """Multiply tensors of the weights' shapes by the masks."""
        if self.method.sparse:
            self.memory.zero_outside(tensors)

    def _move_to(self, new: MaskState) -> None:
        """Take over the new masks; dropped weights and their optimizer state become zero, and so does that of newborns.

        Newborn weights already are: they were outside the mask. Where momentum is dense, that of dropped weights stays.
        """
        moved = [new.masks[name] for name in self.weights]
        others = self.memory.move_to(moved, newborn=self.method.dense_momentum)
        self.masks.n_active.update(new.n_active)
        self._explored |= flat(moved)
        self._zero_outside_masks(self.weights)
        for moment in self._moments():
            if self.method.dense_momentum:
                torch._foreach_mul_(list(moment.values()), [others[name] for name in moment])
            else:
                self._zero_outside_masks(moment)

    def _moments(self) -> Iterator[dict[str, Tensor]]:
        """What the optimizer remembers of the weights, one moment after the other."""
        states = {name: self._state(weight) for name, weight in self.weights.items()}
        for key in dict.fromkeys(key for state in states.values() for key in state):
            values = {name: state.get(key) for name, state in states.items()}
            moment = {
                name: value
                for name, value in values.items()
                if isinstance(value, Tensor) and value.shape == self.weights[name].shape
            }
            if moment:
                yield moment

    def state_dict(self) -> dict[str, Any]:
        """Everything but the weights: optimizer state, masks, what was explored, and the generator's state."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "masks": dict(self.masks.masks),
            "n_active": dict(self.masks.n_active),
            "movable": list(self.movable),
            "explored": dict(self.explored),
            "gradient_sum": dict(self._gradient_sum),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up where `state_dict` left off; `checked_state` says whether `state` is of these layers."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.movable = list(state["movable"])
        self.masks.n_active.update(state["n_active"])
        self.memory.fill(state["masks"])
        for name, explored in self.explored.items():
            explored.copy_(state["explored"][name])
        self._gradient_sum = {
            name: summed.to(self.weights[name].device, copy=True) for name, summed in state["gradient_sum"].items()
        }
        self.generator.set_state(state["generator"])
