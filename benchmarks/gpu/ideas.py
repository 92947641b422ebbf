"""Ways to a quicker step that are not taken (yet): measured beside the one that is, so that nobody has to guess."""

from collections.abc import Mapping

import torch._inductor.config

from benchmarks.gpu.session import Session
from benchmarks.gpu.site import SETTLED, WRN, Site, Steps
from benchmarks.rows import speedup
from rigl_core.compiled import forget_compiled

OF_THE_COMPILER: Mapping[str, Mapping[str, object]] = {
    "small kernels combined": {"combo_kernels": True},
    "tiles tuned": {"coordinate_descent_tuning": True},
    "convolutions by Triton where quicker": {"max_autotune": True, "max_autotune_conv_backends": "ATEN,TRITON"},
}
"""Settings of torch.compile's own compiler that would cost nothing but time to compile."""


class Ideas:
    """All of them, on a compiled WRN-22-2, which has the many small operations.

    Args:
        site: the device.
        session: where to tell what was found.
    """

    def __init__(self, site: Site, session: Session) -> None:
        self.site, self.session = site, session

    def measure(self) -> None:
        """A compiled step with each."""
        ours, failed = self._settled(), []
        for name, settings in OF_THE_COMPILER.items():
            try:
                with torch._inductor.config.patch(dict(settings)):
                    forget_compiled()
                    steps = self._settled()
                found = self.site.milliseconds({"ours": ours, name: steps})
            except Exception as error:
                self.session.tell(f"{name}: FAILED, {type(error).__name__}: {str(error)[:400]}")
                failed.append(name)
                continue
            self.session.row(
                speedup("wrn_22_2 step, RigL, compiled", found["ours"], name, found[name], unit="ms", note="an idea")
            )
        if failed:
            raise RuntimeError(f"failed: {', '.join(failed)}")

    def _settled(self) -> Steps:
        """Steps that are compiled as is set now and, on a GPU, recorded: nothing that is set later changes them."""
        steps = self.site.steps(WRN, self.site.compiled)
        for _ in range(SETTLED):
            steps()
        return steps
