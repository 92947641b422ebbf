"""Every matrix product and convolution that PyTorch computes, counted and put down to the weights that take part."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, UntypedStorage
from torch._ops import HigherOrderOperator
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from rigl_core.errors import BadInput
from rigl_core.weight_parts import Made, Mixed, Part, Uses

_FACTORS: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(("mm", "bmm", "_scaled_mm", "_int_mm", "mv", "dot", "vdot"), (0, 1)),
    **dict.fromkeys(("addmm", "baddbmm", "addmv", "addbmm"), (1, 2)),
}
"""Which arguments are multiplied, for operations where each element of a factor is in equally many products."""

_WITHOUT_FORMULA = frozenset({"_int_mm", "mv", "dot", "vdot", "addmv", "addbmm"})
"""Those of _FACTORS for which PyTorch's own counter has no formula."""

_CONVOLUTIONS = ("convolution", "_convolution")
"""Here only the weight, argument 1, is in equally many products with each of its elements (padding included)."""

_SPEAK_OF_PRODUCTS = frozenset(
    {"mm", "bmm", "addmm", "addbmm", "hspmm", "smm", "sspaddmm", "matmul", "mv", "dot", "conv", "convolution", "conv2d"}
    | {"conv3d", "linear", "trilinear", "rnn", "lstm", "gru", "attention", "transformer"}
)
"""Words in names of aten's operations. One that has such a word and no formula would be left out: it is refused."""

_KNOWN_LIBRARIES = frozenset({"aten", "prim", "prims", "profiler"})
"""Operations of other libraries (a compiled extension, say) are counted if they have a formula, or else refused."""

_KEEP_ZEROS = frozenset({"clone", "_to_copy", "copy_", "mul", "mul_", "div", "div_", "neg", "renorm", "cat", "stack"})
"""What they make of a weight is zero wherever the weight is."""

_LOOK_UP = frozenset({"embedding", "_embedding_bag", "_embedding_bag_forward_only", "index", "index_select", "gather"})
"""With indices that depend on the sample, they make an activation."""


@dataclass
class _Stored:
    """What is known about a storage. Kept as long as the counter, so that no other gets its address."""

    storage: UntypedStorage
    weight: str | None = None
    origin: Made | Mixed | None = None
    from_sample: bool = False


class ProductCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, adds up the FLOPs of products and convolutions, with the formulas of PyTorch's `FlopCounterMode`.

    Args:
        weights: by name, on the meta device, each in a storage of its own.
        sample: what the network is given.

    Attributes:
        others: FLOPs of products in which none of `weights` takes part.

    Raises:
        BadInput: when an operation is computed that cannot be counted.
    """

    supports_higher_order_operators = True

    def __init__(self, weights: Mapping[str, Tensor], sample: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.others = 0
        self._uses = {name: Uses(weight) for name, weight in weights.items()}
        self._stored: dict[int, _Stored] = {}
        for name, weight in weights.items():
            self._about(weight).weight = name
        self._about(sample).from_sample = True

    def flops_of_elements(self) -> dict[str, int | Tensor]:
        """FLOPs of each element of each weight: a number where all have the same, or int64 of the weight's shape.

        Raises:
            BadInput: a weight met the sample, but in no product.
        """
        for name, uses in self._uses.items():
            if uses.each == 0 and uses.more is None and uses.met_sample_in:
                raise _cannot_be_counted((name,), f"its weight is only used in {uses.met_sample_in[0]}")
        return {name: uses.of_elements() for name, uses in self._uses.items()}

    def __torch_dispatch__(
        self, func: Any, types: Iterable[Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        packet = getattr(func, "_overloadpacket", func)
        name = packet.__name__
        formula, product = flop_registry.get(packet), name
        if formula is None and func.namespace == "aten":
            product = name.removesuffix("_")  # addmm_ is addmm in place
            in_place = getattr(torch.ops.aten, product, None)
            formula = _flops_by_factors if product in _WITHOUT_FORMULA else flop_registry.get(in_place)
        for kind in types:
            if kind.__torch_dispatch__ is not torch._C._disabled_torch_dispatch_impl:  # computes out of sight
                raise BadInput(f"FLOPs of tensors of type {kind.__name__} cannot be counted (in {name}).")
        if formula is None:
            if not isinstance(func, HigherOrderOperator) and func is not torch.ops.prim.device.default:
                with self:
                    result = func.decompose(*args, **kwargs)
                if result is not NotImplemented:
                    return result
            _check_known(func)
        result = func(*args, **kwargs)
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        from_sample = any(self._about(tensor).from_sample for tensor in inputs)
        origin: Made | Mixed | None = None
        if formula is not None:
            self._count(product, formula(*args, **kwargs, out_val=result), args, inputs)
        else:
            origin = self._origin_of_result(name, inputs, outputs, from_sample=from_sample)
        for tensor in outputs:
            stored = self._about(tensor)
            stored.from_sample |= from_sample
            # A view keeps what is known about its storage.
            is_view = any(tensor.untyped_storage()._cdata == other.untyped_storage()._cdata for other in inputs)
            if formula is not None or not is_view or func._schema.is_mutable:
                stored.weight, stored.origin = None, origin
        return result

    def _about(self, tensor: Tensor) -> _Stored:
        storage = tensor.untyped_storage()
        return self._stored.setdefault(storage._cdata, _Stored(storage))

    def _origin(self, tensor: Tensor) -> Made | Mixed | None:
        about = self._about(tensor)
        if about.weight is not None:
            return Made(
                (Part(about.weight, tuple(tensor.shape), tuple(tensor.stride()), int(tensor.storage_offset())),)
            )
        if isinstance(about.origin, Made):
            distinct = math.prod(n for n, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride != 0)
            if distinct != about.origin.numel:
                return Mixed(about.origin.weights, "a part of a copy")
        return about.origin

    def _count(self, name: str, flops: int, args: tuple[Any, ...], inputs: list[Tensor]) -> None:
        """Put down the FLOPs of one product to the weight among its factors, or to no weight."""
        if name in _FACTORS:
            factors = [args[position] for position in _FACTORS[name]]
            weighed = [made for factor in factors if isinstance(made := self._origin(factor), Made)]
        elif name in _CONVOLUTIONS:
            factors = [args[0], args[1]]
            weighed = [made] if isinstance(made := self._origin(args[1]), Made) else []
            if isinstance(image := self._origin(args[0]), Made):
                raise _cannot_be_counted(image.weights, f"its weight is what a {name} is applied to")
        else:
            factors, weighed = inputs, []
            if made_of := [origin for factor in factors if (origin := self._origin(factor)) is not None]:
                raise _cannot_be_counted(made_of[0].weights, f"its weight is an argument of {name}")
        if any(factor.layout != torch.strided for factor in factors):
            raise BadInput(f"FLOPs of {name} cannot be counted: a factor is a sparse tensor.")
        if len(weighed) == 2:
            both = (*weighed[0].weights, *weighed[1].weights)
            raise _cannot_be_counted(both, f"{name} multiplies weights with each other")
        if flops == 0:
            return
        if not weighed:
            for factor in factors:
                if isinstance(origin := self._origin(factor), Mixed):
                    raise _cannot_be_counted(
                        origin.weights, f"{name} multiplies by what {origin.operation} made of its weight"
                    )
            self.others += flops
            return
        for part in weighed[0].parts:
            self._uses[part.weight].add(part, flops * part.numel // weighed[0].numel)
        self.others += flops * weighed[0].others // weighed[0].numel

    def _origin_of_result(
        self, name: str, inputs: list[Tensor], outputs: list[Tensor], *, from_sample: bool
    ) -> Made | Mixed | None:
        """What the result of an operation is made of that is no product."""
        origins = [self._origin(tensor) for tensor in inputs]
        mixed = [origin for origin in origins if isinstance(origin, Mixed)]
        weights = tuple(dict.fromkeys(weight for origin in origins if origin is not None for weight in origin.weights))
        if not weights:
            return None
        if from_sample and name in _LOOK_UP:
            return None
        if from_sample:
            for weight in weights:
                self._uses[weight].met_sample_in.append(name)
        elif name in _KEEP_ZEROS and not mixed and (kept := self._kept(name, inputs, origins, outputs[0])):
            return kept
        return Mixed(weights, mixed[0].operation if mixed else name)

    def _kept(self, name: str, inputs: list[Tensor], origins: list[Made | Mixed | None], result: Tensor) -> Made | None:
        """What the result of an operation in _KEEP_ZEROS is made of; None where weights meet each other."""
        if name in ("cat", "stack"):
            made = [o if isinstance(o, Made) else Made((), t.numel()) for t, o in zip(inputs, origins, strict=True)]
            return Made(tuple(part for each in made for part in each.parts), sum(each.others for each in made))
        if name == "copy_":  # only of the second argument, and only where it fills all that the first one is a view of
            filled = inputs[0].numel() * inputs[0].element_size() == inputs[0].untyped_storage().nbytes()
            origin = origins[1] if filled else None
        else:
            kept = [origin for origin in origins if isinstance(origin, Made)]
            divisor = name.startswith("div") and origins[0] is None
            origin = kept[0] if len(kept) == 1 and not divisor else None
        if not isinstance(origin, Made):
            return None
        # Broadcast: each element as often as any other.
        return origin.repeated(result.numel() // origin.numel)


def _flops_by_factors(*args: Any, **_: Any) -> int:
    """FLOPs of an operation whose last two arguments are multiplied, the second one a vector or matrices."""
    one, other = [argument for argument in args if isinstance(argument, Tensor)][-2:]
    return 2 * one.numel() * (other.shape[-1] if other.dim() > 1 else 1)


def _check_known(func: Any) -> None:
    """Refuse an operation without a formula that may be a product."""
    words = func.__name__.split(".")[0].split("_")
    if func.namespace not in _KNOWN_LIBRARIES or isinstance(func, HigherOrderOperator):
        raise BadInput(
            f"FLOPs of the operation {func} cannot be counted; "
            "torch.utils.flop_counter.register_flop_formula can tell how (0 if it multiplies nothing)."
        )
    if func.namespace == "aten" and not _SPEAK_OF_PRODUCTS.isdisjoint(words):
        raise BadInput(f"FLOPs of the operation {func} cannot be counted.")


def _cannot_be_counted(weights: Iterable[str], reason: str) -> BadInput:
    names = " and ".join(dict.fromkeys(weights))
    return BadInput(f"the FLOPs of layer {names} cannot be counted: {reason}.")
