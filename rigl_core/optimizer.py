"""SparseOptimizer: a torch optimizer that trains only the active weights and, at topology steps, moves the mask."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rigl_core.errors import BadInput, CheckpointError
from rigl_core.masks import MaskState, update_mask
from rigl_core.methods import Method
from rigl_core.schedules import UpdateSchedule
from rigl_core.scores import SCORES, Layer


@dataclass(frozen=True)
class TopologyChange:
    """What a topology step did.

    Attributes:
        step: when.
        drop_fraction: f(t), the fraction of each layer's active weights that was dropped.
        n_drop: layer name to the number of weights dropped, and as many grown.
    """

    step: int
    drop_fraction: float
    n_drop: dict[str, int]


class SparseOptimizer:
    """Wraps a torch optimizer so that weights outside the masks are, and stay, exactly zero.

    Between updates gradients, optimizer state and weights outside the mask are zero (DESIGN §5). The optimizer is
    neither patched nor hooked: with zeroed weights, autograd's `weight.grad` already is the dense gradient RigL needs.

    Args:
        optimizer: any torch optimizer whose state is one tensor of the weight's shape per moment (SGD, Adam, ...).
        weights: the maskable weights by name, as `maskable_weights` gives them; all must be in the optimizer.
        masks: their masks; the weights are masked at once.
        method: the row of `METHODS` to train by.
        schedule: when the topology changes.
        generator: random numbers for scores that need them, on the weights' device.

    Raises:
        BadInput: a weight without a mask or not in the optimizer, or a mask of another shape.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        weights: Mapping[str, nn.Parameter],
        masks: MaskState,
        method: Method,
        schedule: UpdateSchedule,
        generator: torch.Generator,
    ) -> None:
        self.optimizer = optimizer
        self.weights = dict(weights)
        self.masks = masks
        self.method = method
        self.schedule = schedule
        self.generator = generator
        optimized = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for name, weight in self.weights.items():
            if name not in masks.masks or masks.masks[name].shape != weight.shape:
                raise BadInput(f"weight {name} of shape {tuple(weight.shape)} has no mask of that shape.")
            if id(weight) not in optimized:
                raise BadInput(f"weight {name} is not among the optimizer's parameters.")
        self._zero_outside_masks(self.weights)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def step(self, step: int) -> TopologyChange | None:
        """Use the gradients in `weight.grad`: a weight step, a topology step, or (where the method says so) both.

        Args:
            step: the number of this step, from 0.

        Returns:
            What changed, None if the topology did not.
        """
        change = None
        if self.method.updates_topology and self.schedule.is_update_step(step):
            change = self._update_topology(step)
            if self.method.replaces_weight_step:
                return change
        if self.method.sparse:
            for name, weight in self.weights.items():
                if weight.grad is not None:
                    weight.grad.mul_(self.masks.masks[name])
        self.optimizer.step()
        return change

    def _update_topology(self, step: int) -> TopologyChange:
        drop, grow = SCORES[self.method.drop or ""], SCORES[self.method.grow or ""]
        fraction = self.schedule.drop_fraction(step)
        n_drop = {name: int(fraction * n_active) for name, n_active in self.masks.n_active.items()}
        moved = {}
        for name, weight in self.weights.items():
            mask, n_active = self.masks.masks[name], self.masks.n_active[name]
            if n_drop[name] == 0 or n_active == mask.numel():
                continue  # nothing to move; a dense layer would only get its own weights back
            if weight.grad is None:
                raise BadInput(f"weight {name} has no gradient at topology step {step}; call backward() before step().")
            layer = Layer(weight, weight.grad, self.generator)
            self.masks.masks[name] = update_mask(
                mask,
                drop_score=drop(layer),
                grow_score=grow(layer),
                n_keep=n_active - n_drop[name],
                n_grow=n_drop[name],
            )
            moved[name] = weight
        self._zero_outside_masks(moved)
        return TopologyChange(step, fraction, n_drop)

    @torch.no_grad()
    def _zero_outside_masks(self, weights: Mapping[str, nn.Parameter]) -> None:
        """Dropped weights and their optimizer state become zero. Newborn ones then already are: they were outside."""
        for name, weight in weights.items():
            mask = self.masks.masks[name]
            weight.mul_(mask)
            for value in self.optimizer.state[weight].values() if weight in self.optimizer.state else ():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    value.mul_(mask)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the weights: optimizer state, masks, and the generator's state."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "masks": dict(self.masks.masks),
            "n_active": dict(self.masks.n_active),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up where `state_dict` left off.

        Raises:
            CheckpointError: the state is of other layers or shapes.
        """
        masks = state["masks"]
        shapes = {name: tuple(weight.shape) for name, weight in self.weights.items()}
        if {name: tuple(mask.shape) for name, mask in masks.items()} != shapes:
            raise CheckpointError("the masks in the checkpoint are of another model.")
        self.optimizer.load_state_dict(state["optimizer"])
        self.masks = MaskState(
            {name: masks[name].to(weight.device) for name, weight in self.weights.items()}, dict(state["n_active"])
        )
        self.generator.set_state(state["generator"])
