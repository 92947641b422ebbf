"""A network's forward and backward pass, compiled: its small operations are fused, and fewer of them wait for memory.

Batches have one shape, for which the compiler works once. What it cannot follow is an error, never a silent return to
what is slower. Compilation takes a minute or so, at the first call. PyTorch keeps what came of it for the process, so
that other networks of the same shape go without, and most of it on the disk for the next process.
"""

import torch
from torch import Tensor, nn

from rigl_core.models.dropout import Dropout


class CompiledModel:
    """Computes what the model does in training, for batches that all have the shape of the first.

    A compiler does not know generators of our own, so what the model's `Dropout` layers drop is drawn before the pass:
    the numbers, and their order, are those of the model itself.

    Args:
        model: in training mode whenever it is called. Each of its `Dropout` layers is called once in a pass at most.
        backend: of torch.compile.
    """

    def __init__(self, model: nn.Module, backend: str) -> None:
        self._model = model
        self._compiled = torch.compile(model, dynamic=False, fullgraph=True, backend=backend)
        self._keep: dict[Dropout, Tensor] | None = None

    def __call__(self, inputs: Tensor) -> Tensor:
        """The outputs of the model; in a recorded step what is dropped is drawn anew with every replay."""
        if self._keep is None:
            self._keep = room_for_dropout(self._model, inputs)
        try:
            for dropout, keep in self._keep.items():
                dropout.keep = dropout.draw_(keep)
            outputs: Tensor = self._compiled(inputs)
            return outputs
        finally:
            for dropout in self._keep:
                dropout.keep = None


def forget_compiled() -> None:
    """Let PyTorch forget, in this process, what it has compiled: it refuses a ninth shape of the same network."""
    torch.compiler.reset()


@torch.no_grad()
def room_for_dropout(model: nn.Module, inputs: Tensor) -> dict[Dropout, Tensor]:
    """Memory for what each `Dropout` keeps of its input, bool, laid out like that input, in the order of the calls.

    Found by one evaluating pass, which changes nothing of the model and draws no number.
    """
    keep: dict[Dropout, Tensor] = {}

    def note(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        if isinstance(module, Dropout) and module.p > 0.0:
            keep[module] = torch.empty_like(given[0], dtype=torch.bool)

    layers = [module for module in model.modules() if isinstance(module, Dropout)]
    hooks, training = [layer.register_forward_pre_hook(note) for layer in layers], model.training
    try:
        model.eval()
        if layers:
            model(inputs)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return keep
