"""What `SparseOptimizer` is given, checked before it changes anything."""

import inspect
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn

from rigl_core.errors import BadInput
from rigl_core.masks import MaskState

_WRAPPERS = frozenset({"module", "_orig_mod"})
"""What DistributedDataParallel and torch.compile put into the names of parameters."""

_UNFIT: Mapping[type[torch.optim.Optimizer], str] = {
    torch.optim.SparseAdam: "takes sparse gradients only, and these are dense",
    torch.optim.Rprop: "starts each weight with a step size that is not zero, which a weight that is grown would lack",
}


def matched(own: Collection[str], given: Collection[str], holder: str) -> dict[str, str]:
    """For each of our layers the name that another network gave it.

    Names are the same up to the prefixes of DistributedDataParallel and torch.compile, on either side.

    Args:
        own: names of our weights.
        given: names in what is to be taken over.
        holder: what they are in, for the message.

    Raises:
        BadInput: a layer of one side that the other lacks, or two that are the same without prefixes.
    """
    if set(own) == set(given):
        return {name: name for name in own}
    for names in (own, given):
        bare, count = max(Counter(map(bare_name, names)).items(), key=lambda item: item[1], default=("", 0))
        if count > 1:
            raise BadInput(f"{holder} does not fit the weights to mask: {count} of one side are called {bare}.")
    theirs = {bare_name(name): name for name in given}
    ours = {bare_name(name): name for name in own}
    missing = [name for bare, name in ours.items() if bare not in theirs]
    unknown = [name for bare, name in theirs.items() if bare not in ours]
    if missing or unknown:
        differences = [f"{_listed(missing)} missing"] * bool(missing) + [f"{_listed(unknown)} unknown"] * bool(unknown)
        raise BadInput(f"{holder} does not fit the weights to mask: {', '.join(differences)}.")
    return {name: theirs[bare_name(name)] for name in own}


def bare_name(name: str) -> str:
    """The name of a parameter without what DistributedDataParallel and torch.compile put into it."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def checked_masks(weights: Mapping[str, Tensor], masks: MaskState, *, holder: str, sparse: bool = True) -> MaskState:
    """These masks in the order and by the names of the weights.

    Args:
        weights: by name.
        masks: bools on any device.
        holder: what the masks are in, for messages.
        sparse: whether the method masks at all.

    Raises:
        BadInput: a layer more or less, or a mask of another shape or type or with another count than it is said to
            have; the message names it.
    """
    theirs = matched(weights, masks.masks, holder)
    counts = matched(weights, masks.n_active, f"n_active of {holder}")
    checked = MaskState({}, {})
    for name, weight in weights.items():
        mask, n_active = masks.masks[theirs[name]], masks.n_active[counts[name]]
        if tuple(mask.shape) != tuple(weight.shape):
            raise BadInput(f"weight {name} of shape {tuple(weight.shape)} has no mask of that shape.")
        if mask.dtype != torch.bool:
            raise BadInput(f"the mask of weight {name} is {mask.dtype}; masks are torch.bool, True = active.")
        if type(n_active) is not int:
            raise BadInput(f"n_active of weight {name} is a {type(n_active).__name__}; it must be an int.")
        n_true = n_active if mask.is_meta else int(torch.count_nonzero(mask))  # no numbers can be read on `meta`
        if n_true != n_active:
            raise BadInput(f"the mask of weight {name} has {n_true} active weights, and n_active says {n_active}.")
        if not sparse and n_active != weight.numel():
            raise BadInput(f"the method masks nothing, and the mask of weight {name} is not True everywhere.")
        checked.masks[name], checked.n_active[name] = mask, n_active
    return checked


def check_weights(weights: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    """Refuse weights that cannot be trained by this optimizer.

    Raises:
        BadInput: the message names the weight.
    """
    optimized = {id(parameter) for parameter in parameters_of(optimizer)}
    names: dict[int, str] = {}
    for name, weight in weights.items():
        if (other := names.setdefault(id(weight), name)) != name:
            raise BadInput(f"weights {other} and {name} are one tensor; list it once.")
        if id(weight) not in optimized:
            raise BadInput(f"weight {name} is not among the optimizer's parameters.")
        if not weight.requires_grad:
            raise BadInput(f"weight {name} is frozen (requires_grad is False); leave it out of the weights to mask.")
        if not weight.is_floating_point() or type(weight.data) is not Tensor:
            kind = weight.dtype if type(weight.data) is Tensor else type(weight.data).__name__
            raise BadInput(f"weight {name} is a {kind}; only plain real floating-point tensors can be masked.")


def check_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Refuse optimizers that cannot train a sparse network.

    Raises:
        BadInput: the message names the optimizer.
    """
    name = type(optimizer).__name__
    for kind, why in _UNFIT.items():
        if isinstance(optimizer, kind):
            raise BadInput(f"{name} {why}; use another optimizer.")
    for parameter in inspect.signature(optimizer.step).parameters.values():
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            raise BadInput(f"{name}.step() asks for {parameter.name}; only optimizers that ask for nothing fit.")


def check_momentum(optimizer: torch.optim.Optimizer, weights: Mapping[str, Tensor]) -> None:
    """Refuse optimizers that keep no momentum of some weight, for methods with a score that looks at it.

    Raises:
        BadInput: the message names a weight.
    """
    names = {id(weight): name for name, weight in weights.items()}
    for group in optimizer.param_groups:
        name = next((names[id(parameter)] for parameter in group["params"] if id(parameter) in names), None)
        if name is None:
            continue
        if "momentum" not in group and "betas" not in group:
            raise BadInput(
                f"the method looks at momentum, and {type(optimizer).__name__} keeps none for weight {name}; use SGD "
                "with momentum, or Adam."
            )
        if float(group["momentum"] if "momentum" in group else group["betas"][0]) == 0.0:
            raise BadInput(
                f"the method looks at momentum, which is 0 for weight {name}; set it above 0, for example 0.9."
            )


def parameters_of(optimizer: torch.optim.Optimizer) -> Iterable[nn.Parameter]:
    """All that it trains, in its order."""
    return (parameter for group in optimizer.param_groups for parameter in group["params"])
