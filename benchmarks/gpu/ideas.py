"""Ways to a quicker step that are not taken (yet): measured beside the one that is, so that nobody has to guess."""

from collections.abc import Callable
from contextlib import ExitStack
from unittest import mock

import torch
from torch import Tensor

from benchmarks.gpu.session import CannotMeasure, Session
from benchmarks.gpu.site import WRN, Site, Steps
from benchmarks.rows import speedup
from rigl_core.models.dropout import Dropout


def fused_dropout(module: Dropout, x: Tensor) -> Tensor:
    """PyTorch's dropout in one kernel, which also takes a generator."""
    if not module.training or module.p == 0.0:
        return x
    result: Tensor = torch.ops.aten._fused_dropout(x, 1.0 - module.p, module.generator)[0]
    return result


class Ideas:
    """All of them, on WRN-22-2, which has the many small operations.

    Args:
        site: the device.
        session: where to tell what was found.
    """

    def __init__(self, site: Site, session: Session) -> None:
        self.site, self.session = site, session

    def measure(self) -> None:
        """A recorded step with each."""
        if self.site.device == "cpu":
            raise CannotMeasure("they are for GPUs")
        ours = self.site.steps(WRN)
        variants: dict[str, Callable[[ExitStack], Steps]] = {
            "dropout in one kernel": self._fused,
            "one multiply by masks": self._masks_at_once,
            "both": lambda changed: self._masks_at_once(changed, self._fused(changed)),
            "no dropout": lambda _: self.site.steps(WRN, model_options={"dropout": 0.0}),
        }
        failed = []
        for name, make in variants.items():
            with ExitStack() as changed:
                try:
                    steps = make(changed)
                    found = self.site.milliseconds({"ours": ours, name: steps})
                except Exception as error:
                    self.session.tell(f"{name}: FAILED, {type(error).__name__}: {str(error)[:400]}")
                    failed.append(name)
                    continue
            self.session.row(
                speedup("wrn_22_2 step, RigL", found["ours"], name, found[name], unit="ms", note="an idea")
            )
        if failed:
            raise RuntimeError(f"failed: {', '.join(failed)}")

    def _fused(self, changed: ExitStack) -> Steps:
        changed.enter_context(mock.patch.object(Dropout, "forward", fused_dropout))
        return self.site.steps(WRN)

    def _masks_at_once(self, changed: ExitStack, steps: Steps | None = None) -> Steps:
        """Masks as numbers, which one launch multiplies by."""
        steps = steps or self.site.steps(WRN)
        sparse = steps.replica.sparse
        numbers = {name: mask.to(torch.float32) for name, mask in sparse.masks.masks.items()}

        @torch.no_grad()
        def weight_step() -> None:
            gradients = [weight.grad for weight in sparse.weights.values() if weight.grad is not None]
            torch._foreach_mul_(gradients, list(numbers.values()))
            sparse.optimizer.step()

        changed.enter_context(mock.patch.object(sparse, "weight_step", weight_step))
        return steps
