"""What a sparse network costs: FLOPs of its matrix products and convolutions, from masks and real shapes.

One multiply-accumulate is 2 FLOPs. Biases, normalisation and activations are not counted, as is usual in the sparse
training literature (Evci et al. 2020, appendix H).
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from rigl_core.distributions import Shape
from rigl_core.errors import BadInput
from rigl_core.masks import maskable_weights
from rigl_core.methods import get_method
from rigl_core.product_counter import ProductCounter

OTHER_PRODUCTS = "(other products)"
"""Key for the products in which no maskable weight takes part: attention's, transposed convolutions, `nn.LSTM`."""


class ForwardFlops(dict[str, int]):
    """Dense FLOPs of one sample by the name of the weight, and under OTHER_PRODUCTS what is never sparse, if any.

    Attributes:
        by_element: for each weight whose elements are in different numbers of products, their FLOPs, int64 of the
            weight's shape. A projection of attention is such a weight, where queries and keys differ in number.
    """

    def __init__(self) -> None:
        super().__init__()
        self.by_element: dict[str, Tensor] = {}


def _meta_copy(model: nn.Module) -> nn.Module:
    """A copy of `model` without data: same modules, tensors on the meta device, no hooks, in evaluation mode.

    The memo tells `deepcopy` what stands in for each tensor, so that no weight or gradient is ever copied, and for the
    hook tables, so that no hook of the user runs (or is copied) in the dry run.
    """
    memo: dict[int, Any] = {}
    twins: dict[int, tuple[Tensor, Tensor]] = {}
    for parameter in model.parameters():
        twin = torch.empty_strided(parameter.shape, parameter.stride(), dtype=parameter.dtype, device="meta")
        memo[id(parameter)] = nn.Parameter(twin, requires_grad=parameter.requires_grad)
        twins[parameter.untyped_storage()._cdata] = parameter, memo[id(parameter)]
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    for module in model.modules():
        memo[id(module._forward_hooks)] = OrderedDict()
        memo[id(module._forward_pre_hooks)] = OrderedDict()
        for tensor in vars(module).values():
            if isinstance(tensor, Tensor) and id(tensor) not in memo:  # it may be a view of a parameter
                memo[id(tensor)] = torch.empty_like(tensor, device="meta")
                if (found := twins.get(tensor.untyped_storage()._cdata)) is not None:
                    offset = int(tensor.storage_offset() - found[0].storage_offset())
                    memo[id(tensor)] = found[1].as_strided(tensor.shape, tensor.stride(), offset)
    return copy.deepcopy(model, memo).eval()


def forward_flops(model: nn.Module, input_shape: Shape, dtype: torch.dtype | None = None) -> ForwardFlops:
    """Dense FLOPs of one forward pass of one sample, for each maskable layer and for all that is not masked.

    Every matrix product and convolution counts, with the formulas of `torch.utils.flop_counter.FlopCounterMode`, for
    the maskable weight that is a factor in it: the weight itself, a view, a part or a multiple of it. So a layer that
    is called twice counts twice (that of a recurrent network once for each position of the sequence), one that is
    never called counts 0. The sum of all values is the cost of the dense network.

    A dry run on the meta device: nothing is computed, and the model, its training flag, BatchNorm statistics, hooks and
    every random number generator stay as they are. The network runs in evaluation mode.

    Args:
        model: any network made of PyTorch modules.
        input_shape: shape of one sample, without the batch dimension: (C, H, W) for images, (L,) for text.
        dtype: of a sample, torch.int64 for text; None takes that of the weights.

    Returns:
        FLOPs by the name of the weight, in model order (the keys of `maskable_weights`). If there are products without
        a maskable weight, their FLOPs follow under OTHER_PRODUCTS.

    Raises:
        BadInput: the model has no maskable weights, does not take samples of this shape, cannot run without data, or
            has an operation or a use of a maskable weight that cannot be counted.
    """
    if not (own := maskable_weights(model)):
        raise BadInput("the model has no maskable weights (no Conv or Linear layer); there are no FLOPs to count.")
    dtype = dtype or next(iter(own.values())).dtype
    # Tensors which the model makes on its way belong on the meta device too: hence the device context.
    try:
        twin = _meta_copy(model)
        weights = maskable_weights(twin)
        with torch.no_grad(), torch.device("meta"):
            sample = torch.empty((1, *input_shape), dtype=dtype)
            with ProductCounter(weights, sample) as counter:
                twin(sample)
    except BadInput:
        raise
    except Exception as error:  # the network is code of the user's
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise BadInput(
            f"the model cannot take one sample of shape {tuple(input_shape)} in a dry run: {reason}"
        ) from error
    flops = ForwardFlops()
    for name, each in counter.flops_of_elements().items():
        if isinstance(each, Tensor):
            flops.by_element[name] = each
            flops[name] = int(each.sum())
        else:
            flops[name] = each * weights[name].numel()
    if counter.others:
        flops[OTHER_PRODUCTS] = counter.others
    return flops


def inference_flops(
    layer_flops: Mapping[str, int], sparsities: Mapping[str, float], masks: Mapping[str, Tensor] | None = None
) -> float:
    """FLOPs of one forward pass of one sample when only active weights are multiplied: f_S.

    Args:
        layer_flops: dense FLOPs by layer, from `forward_flops`; those under OTHER_PRODUCTS count in full.
        sparsities: fraction of masked-out weights of each of these layers, in [0, 1].
        masks: by layer, bool of the weight's shape, True = active. Only looked at for layers in
            `ForwardFlops.by_element`: there it matters which weights are masked out.

    Raises:
        BadInput: a layer without a sparsity, or one outside [0, 1]; no mask for a layer that needs it.
    """
    by_element = layer_flops.by_element if isinstance(layer_flops, ForwardFlops) else {}
    total = 0.0
    for name, flops in layer_flops.items():
        if name == OTHER_PRODUCTS:
            total += flops
            continue
        if name not in sparsities:
            raise BadInput(f"no sparsity is given for layer {name}; given: {', '.join(sparsities) or 'none'}.")
        if not 0.0 <= sparsities[name] <= 1.0:
            raise BadInput(f"layer {name} has sparsity {sparsities[name]}; it must be in [0, 1].")
        if name not in by_element or sparsities[name] in (0.0, 1.0):
            total += flops * (1.0 - sparsities[name])
        elif masks is not None and name in masks:
            total += int(by_element[name][masks[name].cpu()].sum())
        else:
            raise BadInput(
                f"parts of layer {name} are used differently often, so its sparsity does not tell its FLOPs; "
                "pass its mask in `masks`."
            )
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
