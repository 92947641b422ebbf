"""What a device makes of an `Execution`: number format, memory layout, recorded steps, sparse convolutions."""

import contextlib
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from rigl_core.errors import BadInput
from rigl_core.execution import Execution
from rigl_core.native.build import c_compiler


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a replica computes. The default is what PyTorch does by itself.

    Attributes:
        device: a torch device.
        autocast: the type of activations and products; None computes in float32. Weights are float32 in any case.
        channels_last: whether images lie in memory pixel by pixel rather than channel by channel.
        recorded: whether a step is recorded once and then replayed, see `rigl_core.recording`.
        sparse_convolutions: whether convolutions skip inactive weights, see `rigl_core.native.sparse_convolution`.
        deterministic: whether only PyTorch's own deterministic operations are used.
        compiled: by which of torch.compile's backends the network is compiled, see `rigl_core.compiled`; None by none.
    """

    device: str = "cpu"
    autocast: torch.dtype | None = None
    channels_last: bool = False
    recorded: bool = False
    sparse_convolutions: bool = False
    deterministic: bool = False
    compiled: str | None = None

    @property
    def fused(self) -> bool:
        """Whether this device has optimizers that update all weights in one go."""
        return torch.device(self.device).type in ("cpu", "cuda")

    def place(self, model: nn.Module) -> nn.Module:
        """The model on the device, as this plan wants it in memory."""
        model = model.to(self.device)
        if self.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model

    def laid_out(self, inputs: Tensor) -> Tensor:
        """A batch as this plan wants it in memory."""
        if self.channels_last and inputs.ndim == 4:
            return inputs.contiguous(memory_format=torch.channels_last)
        return inputs

    def arithmetic(self) -> AbstractContextManager[object]:
        """Within it, a forward pass computes in the type of this plan."""
        if self.autocast is None:
            return contextlib.nullcontext()
        # Without its cache of converted weights: in a recorded step those of an earlier pass would be stale.
        return torch.autocast(torch.device(self.device).type, dtype=self.autocast, cache_enabled=False)

    def describe(self) -> dict[str, str]:
        """For the record of a run."""
        return {
            "precision": "float32" if self.autocast is None else str(self.autocast).removeprefix("torch."),
            "steps": "recorded" if self.recorded else "eager",
            "compiled": self.compiled or "no",
            "deterministic": "yes" if self.deterministic else "no",
        }


def make_plan(execution: Execution, device: str) -> Plan:
    """The quickest way to do what `execution` asks for on `device`.

    Raises:
        BadInput: bfloat16 was asked for by name, and this device has no such arithmetic; or a compiled network, and it
            cannot be had.
    """
    kind = torch.device(device).type
    lower = execution.precision != "float32" and _has_bfloat16(kind)
    if execution.precision == "bfloat16" and not lower:
        raise BadInput(f'precision is "bfloat16", and this {kind} has no such arithmetic; use float32 or auto.')
    quick = not execution.deterministic
    if execution.compiled:
        _check_compiler(kind, quick)
    return Plan(
        device=device,
        autocast=torch.bfloat16 if lower else None,
        channels_last=quick and (kind == "cuda" or lower),
        recorded=quick and kind == "cuda",
        # They are float32, and on a CPU that has bfloat16 its dense convolutions are as quick even at S = 0.99.
        sparse_convolutions=quick and kind == "cpu" and not lower,
        deterministic=execution.deterministic,
        compiled="inductor" if execution.compiled else None,
    )


def prepare_process(execution: Execution, device: str) -> None:
    """Set what PyTorch keeps for the whole process and not for one run."""
    if torch.device(device).type == "cuda":
        torch.backends.cudnn.benchmark = not execution.deterministic
        torch.backends.cudnn.allow_tf32 = execution.precision != "float32"
        if execution.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS may add in another order
    torch.use_deterministic_algorithms(execution.deterministic)


def _check_compiler(kind: str, quick: bool) -> None:
    """Refuse to compile where nobody could, or where the numbers would not be those that were asked for."""
    if kind != "cuda":
        raise BadInput(f"networks are compiled (--compile) for CUDA GPUs only, and this is a {kind}; train without.")
    if not quick:
        raise BadInput("--compile and --deterministic exclude each other: a compiler chooses operations of its own.")
    if find_spec("triton") is None:
        raise BadInput("--compile needs the package triton, which is not installed; train without, or install it.")
    if c_compiler() is None:
        raise BadInput("--compile needs a C compiler, and there is none; train without, or install gcc.")


def _has_bfloat16(kind: str) -> bool:
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return kind == "cpu" and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
