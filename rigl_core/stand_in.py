"""An optimizer that PyTorch's tools take for the one it wraps."""

from typing import Any

import torch


class StandIn(torch.optim.Optimizer):
    """Passes on to the wrapped optimizer whatever it does not do itself.

    `param_groups`, `state`, `defaults` and hooks are the wrapped optimizer's, so that learning-rate schedulers,
    `GradScaler` and `isinstance` checks work. Subclasses define `step`, `state_dict` and `load_state_dict`.

    Args:
        optimizer: the wrapped optimizer.
    """

    # Else a `GradScaler` would leave scaled gradients and overflows to a fused optimizer, and so to `step`.
    _step_supports_amp_scaling = False

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        # Not `super().__init__`, which would make groups, state and hooks of its own.
        self.optimizer = optimizer

    def __getattr__(self, name: str) -> Any:
        if name == "optimizer":  # which a copy in the making does not have yet
            raise AttributeError(name)
        return getattr(self.optimizer, name)

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad(set_to_none=set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Train more parameters, which are not masked."""
        self.optimizer.add_param_group(param_group)
