"""Whether this machine has the C compiler that convolutions on a CPU are compiled by."""

import pytest

from rigl_core.native import build

needs_compiler = pytest.mark.skipif(
    isinstance(build.convolution(), str), reason=f"no native code: {build.convolution()}"
)
