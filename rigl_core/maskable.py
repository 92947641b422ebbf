"""Which weights of a network can be masked."""

from collections.abc import Mapping
from types import FunctionType, MappingProxyType

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from rigl_core.errors import BadInput

_LAYER = ("weight",)
_ATTENTION = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
MASKABLE: Mapping[type[nn.Module], tuple[str, ...]] = MappingProxyType(
    {
        nn.Linear: _LAYER,
        nn.Conv1d: _LAYER,
        nn.Conv2d: _LAYER,
        nn.Conv3d: _LAYER,
        nn.MultiheadAttention: _ATTENTION,  # its output projection is a Linear
    }
)
"""The weights of each kind of layer that can be masked; its subclasses are of the same kind."""

_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def maskable_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that can be masked, by parameter name, in model order.

    They are the weights of `nn.Linear`, `nn.Conv1d`, `nn.Conv2d` and `nn.Conv3d` (grouped and depthwise ones, too), and
    the query, key and value projections of `nn.MultiheadAttention`: `in_proj_weight` (3E, E) is one layer, as if a
    linear layer made all three.

    All else stays dense and is not part of any sparsity: biases, normalisation, embeddings, `nn.Bilinear`, transposed
    convolutions, `nn.RNN`, `nn.LSTM` and `nn.GRU`, and parameters of your own modules. So do

    - frozen weights (`requires_grad` is False);
    - a weight that another kind of module holds as well, such as an output layer's that is tied to an embedding. A
      weight that several maskable layers share appears once, under its first name.

    Raises:
        BadInput: a layer's weight is computed from other tensors (weight norm, spectral norm, `torch.nn.utils.prune`,
            other parametrisations), has no shape yet (lazy layers), or is of a type other than float16, bfloat16,
            float32 and float64; the message names it.
    """
    elsewhere = {
        id(parameter)
        for module in model.modules()
        for own, parameter in module._parameters.items()
        if own not in _maskable_names(module)
    }
    weights: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        if not any(parameter.requires_grad for parameter in module.parameters()):
            continue
        for own in _maskable_names(module):
            name = f"{prefix}.{own}" if prefix else own
            if own not in module._parameters:
                raise BadInput(_is_computed(name, module, own))
            parameter = module._parameters[own]
            if parameter is None or id(parameter) in seen or id(parameter) in elsewhere or not parameter.requires_grad:
                continue
            if is_lazy(parameter):
                raise BadInput(f"weight {name} has no shape yet; run a batch through the network first.")
            if parameter.dtype not in _TYPES:
                raise BadInput(f"weight {name} is {parameter.dtype}; only real floating-point weights can be masked.")
            seen.add(id(parameter))
            weights[name] = parameter
    return weights


def _maskable_names(module: nn.Module) -> tuple[str, ...]:
    return next((names for kind, names in MASKABLE.items() if isinstance(module, kind)), ())


def _is_computed(name: str, module: nn.Module, own: str) -> str:
    parametrizations = getattr(module, "parametrizations", {})
    own_makers = parametrizations[own] if own in parametrizations else ()  # noqa: SIM401 - ModuleDict has no get
    makers = [*own_makers, *module._forward_pre_hooks.values()]
    how = ", ".join(type(maker).__name__.lstrip("_") for maker in makers if not isinstance(maker, FunctionType))
    return (
        f"weight {name} is computed from other tensors{f' ({how})' if how else ''}, so a mask on it would not last; "
        "make it a plain parameter again (torch.nn.utils.parametrize.remove_parametrizations, "
        "torch.nn.utils.remove_weight_norm or torch.nn.utils.prune.remove), or leave that layer out and list the "
        "weights to mask yourself."
    )
