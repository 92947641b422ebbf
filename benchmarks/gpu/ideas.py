"""Ways to a quicker step that are not taken (yet): measured beside the one that is, so that nobody has to guess."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest import mock

import torch._inductor.config
from torch import Tensor
from torch.nn import functional

from benchmarks.gpu.session import Session
from benchmarks.gpu.site import SETTLED, WRN, Site, Steps
from benchmarks.rows import speedup
from rigl_core.compiled import forget_compiled
from rigl_core.models.wide_resnet import WideResNet

OF_THE_COMPILER: Mapping[str, Mapping[str, Any]] = {
    "small kernels combined": {"combo_kernels": True},
    "kernels that start before the one before has ended": {"triton.enable_pdl": True},
    "sums by several blocks at once": {"triton.cooperative_reductions": True},
    "tiles tuned": {"coordinate_descent_tuning": True},
    "convolutions by Triton where quicker": {"max_autotune": True, "max_autotune_conv_backends": "ATEN,TRITON"},
}
"""Settings of torch.compile's own compiler that would cost nothing but time to compile."""

PADDED_CHANNELS = 8
"""Of an image in bfloat16, so many are sixteen bytes, which tensor cores read at once."""


def with_padded_images(network: WideResNet, x: Tensor) -> Tensor:
    """The network's forward pass, its first convolution given channels of zeros beside those of the images."""
    missing = (0, 0, 0, 0, 0, PADDED_CHANNELS - x.shape[1])
    x = functional.conv2d(functional.pad(x, missing), functional.pad(network.conv1.weight, missing), padding=1)
    x = network.group3(network.group2(network.group1(x)))
    logits: Tensor = network.fc(functional.relu(network.bn(x)).mean(dim=(2, 3)))
    return logits


class Ideas:
    """All of them, on a compiled WRN-22-2, which has the many small operations.

    Args:
        site: the device.
        session: where to tell what was found.
    """

    def __init__(self, site: Site, session: Session) -> None:
        self.site, self.session = site, session
        self._failed: list[str] = []

    def measure(self) -> None:
        """A compiled step with each."""
        self._failed.clear()
        ours = self._settled()
        self._compare("two networks at once, a step of each", ours, self._two_at_once(ours), of=2)
        for name, settings in OF_THE_COMPILER.items():
            self._compare(name, ours, self._changed(torch._inductor.config.patch(dict(settings))))
        padded = mock.patch.object(WideResNet, "forward", with_padded_images)
        self._compare(f"images of {PADDED_CHANNELS} channels", ours, self._changed(padded))
        if self._failed:
            raise RuntimeError(f"failed: {', '.join(self._failed)}")

    def _compare(self, name: str, ours: Steps, make: Callable[[], Callable[[], object]], of: int = 1) -> None:
        """What was made by `make`, and makes `of` steps a call, with ours; that it fails costs no other idea."""
        try:
            found = self.site.milliseconds({"ours": ours, name: make()})
        except Exception as error:
            self.session.tell(f"{name}: FAILED, {type(error).__name__}: {str(error)[:400]}")
            self._failed.append(name)
            return
        line, theirs = "wrn_22_2 step, RigL, compiled", found[name] / of
        self.session.row(speedup(line, found["ours"], name, theirs, unit="ms", note="an idea"))

    def _settled(self) -> Steps:
        """Steps that are compiled as is set now and, on a GPU, recorded: nothing that is set later changes them."""
        steps = self.site.steps(WRN, self.site.compiled)
        for _ in range(SETTLED):
            steps()
        return steps

    def _changed(self, change: AbstractContextManager[object]) -> Callable[[], Steps]:
        def make() -> Steps:
            with change:
                forget_compiled()
                return self._settled()

        return make

    def _two_at_once(self, ours: Steps) -> Callable[[], Callable[[], None]]:
        """As the replicas of a trial might: what one leaves idle of the device, the other uses."""

        def make() -> Callable[[], None]:
            both = [(steps, self._stream()) for steps in (ours, self._settled())]

            def compute() -> None:
                for steps, stream in both:
                    with stream:
                        steps()

            return compute

        return make

    def _stream(self) -> AbstractContextManager[object]:
        if self.site.device == "cpu":
            return nullcontext()
        return torch.cuda.stream(torch.cuda.Stream(self.site.device))  # type: ignore[no-untyped-call]
