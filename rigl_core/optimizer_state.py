"""What `SparseOptimizer.state_dict` gave, checked before anything is changed; and what an optimizer remembers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rigl_core.errors import BadInput
from rigl_core.masks import MaskState
from rigl_core.optimizer_input import checked_masks, matched, parameters_of

_PARTS = ("optimizer", "masks", "n_active", "movable", "explored", "gradient_sum", "generator")
_MOMENTS = ("momentum_buffer", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class SavedState:
    """A state that fits, by the names of our weights.

    Attributes:
        masks: with their counts.
        movable: layers whose masks may change.
        explored: as `SparseOptimizer.explored`.
        gradient_sum: of layers whose gradients are being summed.
        generator: the state of the generator.
        checksums: of every parameter of the optimizer when it was saved; None if that is not known.
        step: the number of the last step; None if that is not known.
    """

    masks: MaskState
    movable: list[str]
    explored: dict[str, Tensor]
    gradient_sum: dict[str, Tensor]
    generator: Tensor
    checksums: list[int] | None
    step: int | None


def checked_state(
    saved: Mapping[str, Any],
    weights: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    *,
    sparse: bool,
) -> SavedState:
    """The parts of `saved` but the optimizer's, which is only looked at.

    Args:
        saved: what `SparseOptimizer.state_dict` gave, perhaps of a network that was wrapped otherwise.
        weights: ours, by name.
        optimizer: ours.
        generator: ours.
        sparse: whether our method masks at all.

    Raises:
        BadInput: it is of other layers, another optimizer or another device, or damaged; the message names what.
    """
    missing = [part for part in _PARTS if not isinstance(saved, Mapping) or part not in saved]
    if missing:
        raise BadInput(f"this is no state of a SparseOptimizer: {', '.join(missing)} missing.")
    for part in ("masks", "n_active", "explored", "gradient_sum"):
        if not isinstance(saved[part], Mapping):
            raise BadInput(f"{part} of the saved state is a {type(saved[part]).__name__}, not a dict by layer.")
    masks = checked_masks(
        weights, MaskState(saved["masks"], saved["n_active"]), holder="the saved state", sparse=sparse
    )
    theirs = matched(weights, saved["masks"], "the saved state")
    ours = {their: own for own, their in theirs.items()}
    for part in ("movable", "gradient_sum"):
        for name in saved[part]:
            if name not in ours:
                raise BadInput(f"{part} of the saved state has {name}, which is no weight to mask.")
    explored = {name: saved["explored"].get(theirs[name]) for name in weights}
    gradient_sum = {ours[name]: value for name, value in saved["gradient_sum"].items()}
    for part, tensors in (("explored", explored), ("gradient_sum", gradient_sum)):
        for name, tensor in tensors.items():
            if not isinstance(tensor, Tensor) or tensor.shape != weights[name].shape:
                raise BadInput(f"{part} of the saved state is no tensor of the shape of weight {name}.")
    _check_generator(saved["generator"], generator)
    _check_optimizer(saved["optimizer"], weights, optimizer)
    sums, step = saved.get("checksums"), saved.get("step")
    if sums is not None and len(sums) != len(list(parameters_of(optimizer))):
        raise BadInput("the saved state is of a network with another number of parameters.")
    return SavedState(
        masks=masks,
        movable=[ours[name] for name in saved["movable"]],
        explored=explored,
        gradient_sum=gradient_sum,
        generator=saved["generator"],
        checksums=sums,
        step=step,
    )


def _check_generator(saved: Any, generator: torch.Generator) -> None:
    try:
        torch.Generator(generator.device).set_state(saved)
    except (RuntimeError, TypeError) as error:
        raise BadInput(f"the generator of the saved state is none of device {generator.device}.") from error


def _check_optimizer(saved: Any, weights: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    """Beyond what torch's optimizers check when they load it."""
    name = type(optimizer).__name__
    groups = saved.get("param_groups", []) if isinstance(saved, Mapping) else []
    sizes = [len(group["params"]) for group in groups]
    own_sizes = [len(group["params"]) for group in optimizer.param_groups]
    if sizes != own_sizes:
        raise BadInput(f"the saved optimizer has groups of {sizes} parameters, and this {name} of {own_sizes}.")
    for group, own in zip(groups, optimizer.param_groups, strict=True):
        for option in ("momentum", "betas"):  # by which SGD and Adam differ
            if (option in group) != (option in own):
                raise BadInput(f"the saved optimizer is of another kind than this {name}: only one has {option}.")
    names = {id(weight): name for name, weight in weights.items()}
    indices = [index for group in groups for index in group["params"]]
    for index, parameter in zip(indices, parameters_of(optimizer), strict=True):
        for key, value in saved["state"].get(index, {}).items():
            if key in _MOMENTS and isinstance(value, Tensor) and value.shape != parameter.shape:
                whose = names.get(id(parameter), f"parameter {index}")
                raise BadInput(f"{key} of {whose} has shape {tuple(value.shape)} in the saved state.")


def state_of(optimizer: torch.optim.Optimizer, weight: nn.Parameter) -> dict[str, Any]:
    """What the optimizer remembers of a weight."""
    # Not `state[weight]`: the mapping makes an empty entry for every key it is asked for.
    state: dict[str, Any] = optimizer.state.get(weight, {})
    return state


def moments(optimizer: torch.optim.Optimizer, weights: Mapping[str, nn.Parameter]) -> Iterator[dict[str, Tensor]]:
    """What the optimizer remembers of each weight by itself, one moment after the other.

    Tensors of other shapes (step counts, statistics of rows and columns) belong to no weight in particular.

    Raises:
        BadInput: a tensor of a weight's shape is not of floating-point numbers, so that its zero may mean anything.
    """
    states = {name: state_of(optimizer, weight) for name, weight in weights.items()}
    for key in dict.fromkeys(key for state in states.values() for key in state):
        moment: dict[str, Tensor] = {}
        for name, state in states.items():
            value = state.get(key)
            if not isinstance(value, Tensor) or value.shape != weights[name].shape:
                continue
            if not value.is_floating_point() or type(value) is not Tensor:
                raise BadInput(
                    f"{type(optimizer).__name__} keeps {key} of weight {name} as {type(value).__name__} of "
                    f"{value.dtype}, which cannot be masked; use an optimizer that keeps floating-point numbers."
                )
            moment[name] = value
        if moment:
            yield moment
