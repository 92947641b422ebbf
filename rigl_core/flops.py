"""What a sparse network costs: FLOPs of convolutions and linear layers, from masks and real output shapes.

One multiply-accumulate is 2 FLOPs. Biases, normalisation and activations are not counted, as is usual in the sparse
training literature (Evci et al. 2020, appendix H).
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rigl_core.distributions import Shape
from rigl_core.errors import BadInput
from rigl_core.masks import maskable_weights
from rigl_core.methods import get_method

_COUNTED = frozenset({F.conv1d, F.conv2d, F.conv3d, F.linear})
"""(input, weight, ...) -> output. However they are called (module, `torch.conv2d`, `F.conv2d`), it is these objects."""


class _FlopCounter(TorchFunctionMode):
    """While active, adds up the FLOPs of each convolution and matrix product by the weight it uses.

    Attributes:
        flops: FLOPs so far, by the name of the weight.
        other_uses: for each weight that went into a function that is not counted, the name of that function.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.flops = dict.fromkeys(weights, 0)
        self.other_uses: dict[str, str] = {}
        # By identity, because `==` of tensors compares elements. A weight shared by two layers counts for the first.
        self._names: dict[int, str] = {}
        for name, weight in weights.items():
            self._names.setdefault(id(weight), name)

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in _COUNTED:
            weight = kwargs["weight"] if "weight" in kwargs else args[1]
            if (name := self._names.get(id(weight))) is not None:
                # Each element of the output is a dot product of length C_in/groups · kernel size: one filter.
                self.flops[name] += 2 * result.numel() * weight[0].numel()
            return result
        called = getattr(func, "__name__", str(func))
        if called != "__get__":  # reading an attribute, such as `weight.device`, costs nothing
            for used in (*args, *kwargs.values()):
                if (name := self._names.get(id(used))) is not None:
                    self.other_uses[name] = called
        return result


def _meta_copy(model: nn.Module) -> nn.Module:
    """A copy of `model` without data: same modules, tensors on the meta device, no hooks, in evaluation mode.

    The memo tells `deepcopy` what stands in for each tensor, so that no weight or gradient is ever copied, and for the
    hook tables, so that no hook of the user runs (or is copied) in the dry run.
    """
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        twin = torch.empty_like(parameter, device="meta")
        memo[id(parameter)] = nn.Parameter(twin, requires_grad=parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    for module in model.modules():
        memo[id(module._forward_hooks)] = OrderedDict()
        memo[id(module._forward_pre_hooks)] = OrderedDict()
    return copy.deepcopy(model, memo).eval()


def forward_flops(model: nn.Module, input_shape: Shape, dtype: torch.dtype | None = None) -> dict[str, int]:
    """Dense FLOPs of one forward pass of one sample, for each maskable layer.

    A dry run on the meta device: nothing is computed, and the model, its training flag, BatchNorm statistics, hooks and
    every random number generator stay as they are. A layer that is called twice counts twice (that of a recurrent
    network once for each position of the sequence), one that is never called counts 0.

    Args:
        model: any network made of PyTorch modules.
        input_shape: shape of one sample, without the batch dimension: (C, H, W) for images, (L,) for text.
        dtype: of a sample, torch.int64 for text; None takes that of the weights.

    Returns:
        FLOPs by the name of the weight, in model order (the keys of `maskable_weights`).

    Raises:
        BadInput: the model has no maskable weights, does not take samples of this shape, cannot run without data, or
            uses a maskable weight in a way that cannot be counted (for example inside `nn.MultiheadAttention`).
    """
    twin = _meta_copy(model)
    weights = maskable_weights(twin)
    if not weights:
        raise BadInput("the model has no maskable weights (no Conv or Linear layer); there are no FLOPs to count.")
    dtype = dtype or next(iter(weights.values())).dtype
    counter = _FlopCounter(weights)
    # Tensors which the model makes on its way belong on the meta device too: hence the device context.
    try:
        with torch.no_grad(), torch.device("meta"), counter:
            twin(torch.empty((1, *input_shape), dtype=dtype))
    except RuntimeError as error:
        raise BadInput(
            f"the model cannot take one sample of shape {tuple(input_shape)} in a dry run: {error}"
        ) from error
    for name, function in counter.other_uses.items():
        if counter.flops[name] == 0:
            raise BadInput(f"the FLOPs of layer {name} cannot be counted: its weight is only used in {function}.")
    return counter.flops


def inference_flops(layer_flops: Mapping[str, int], sparsities: Mapping[str, float]) -> float:
    """FLOPs of one forward pass of one sample when only active weights are multiplied: f_S.

    Args:
        layer_flops: dense FLOPs by layer, from `forward_flops`.
        sparsities: fraction of masked-out weights of each of these layers, in [0, 1].

    Raises:
        BadInput: a layer without a sparsity, or one outside [0, 1].
    """
    total = 0.0
    for name, flops in layer_flops.items():
        if name not in sparsities:
            raise BadInput(f"no sparsity is given for layer {name}; given: {', '.join(sparsities) or 'none'}.")
        if not 0.0 <= sparsities[name] <= 1.0:
            raise BadInput(f"layer {name} has sparsity {sparsities[name]}; it must be in [0, 1].")
        total += flops * (1.0 - sparsities[name])
    return total


def _dense(f_s: float, f_d: float, delta_t: int, n: int) -> float:  # noqa: ARG001 - one signature for every rule
    return 3 * f_d


def _static(f_s: float, f_d: float, delta_t: int, n: int) -> float:  # noqa: ARG001 - one signature for every rule
    return 3 * f_s


def _rigl(f_s: float, f_d: float, delta_t: int, n: int) -> float:
    # Of ΔT + 1 steps, n have a dense weight gradient (f_S + f_S + f_D); the others cost 3 f_S.
    return (3 * f_s * (delta_t + 1 - n) + n * (2 * f_s + f_d)) / (delta_t + 1)


def _snfs(f_s: float, f_d: float, delta_t: int, n: int) -> float:  # noqa: ARG001 - one signature for every rule
    # The weight gradient is dense at every step, because the momentum of inactive weights is kept.
    return 2 * f_s + f_d


TRAIN_FLOPS: Mapping[str, Callable[[float, float, int, int], float]] = MappingProxyType(
    {"dense": _dense, "static": _static, "rigl": _rigl, "snfs": _snfs}
)
"""(f_S, f_D, ΔT, n) -> FLOPs of training on one sample for one step; the values of `Method.train_flops`."""


def train_flops(method: str, f_s: float, f_d: float, delta_t: int, *, grow_accumulation: int = 1) -> float:
    """FLOPs of training on one sample for one step, averaged over topology updates (Evci et al. 2020, appendix H).

    The backward pass costs twice the forward pass: once for the gradient of the activations, once of the weights.

    Args:
        method: key of `rigl_core.methods.METHODS`.
        f_s: forward FLOPs of the sparse network, from `inference_flops`; where they change, their mean over training.
        f_d: forward FLOPs of the dense network, in the same unit; the result is in that unit too.
        delta_t: steps between topology updates.
        grow_accumulation: n, the steps of each ΔT whose dense gradients are averaged; the paper has 1.

    Raises:
        UnknownName: no such method.
    """
    return TRAIN_FLOPS[get_method(method).train_flops](f_s, f_d, delta_t, grow_accumulation)
