"""torchvision beside a torch that its compiled operators were not built for.

torchvision's wheels on PyPI are linked against the CUDA build of torch. Beside the CPU build its extension does not
load, and torchvision (0.28 at least) then fails on import, because it describes two operators which nobody defined.
This project only needs its data sets, which are plain Python.
"""

import functools
import importlib
from types import ModuleType

import torch

# Signatures from torchvision/csrc/ops/nms.cpp and torchvision/csrc/ops/quantized/cpu/qnms_kernel.cpp.
_OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


@functools.cache
def _define_missing_operators() -> torch.library.Library:
    """Declare the operators torchvision describes on import; calling them still fails, since they get no kernel.

    The definitions live as long as the library object: the cache keeps it.
    """
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name, schema in _OPERATORS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)  # type: ignore[no-untyped-call]
    return library


def import_torchvision_datasets() -> ModuleType:
    """The module `torchvision.datasets`, also where torchvision's compiled operators cannot be loaded.

    Nothing is touched where torchvision imports by itself.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: torchvision fails on import for another reason than a missing operator of its own.
    """
    try:
        return importlib.import_module("torchvision.datasets")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    _define_missing_operators()
    return importlib.import_module("torchvision.datasets")
