"""What a device does while something is computed, kernel by kernel."""

import time
from collections.abc import Callable

import torch

from benchmarks.ceilings import wait


def where_time_goes(compute: Callable[[], object], device: str, times: int = 5, n: int = 40) -> str:
    """The kernels of a call, or a CPU's operations, by their share of the time they take together."""
    kinds = torch.profiler.ProfilerActivity
    on_device = device != "cpu"
    wait(device)
    with torch.profiler.profile(activities=[kinds.CPU, kinds.CUDA] if on_device else [kinds.CPU]) as profile:
        began = time.perf_counter()
        for _ in range(times):
            compute()
        wait(device)
        wall = 1e3 * (time.perf_counter() - began) / times
    own = "self_device_time_total" if on_device else "self_cpu_time_total"
    kind = torch.autograd.DeviceType  # type: ignore[attr-defined]
    wanted = kind.CUDA if on_device else kind.CPU
    events = [
        event
        for event in profile.key_averages()
        if event.device_type == wanted and getattr(event, own) > 0 and not event.is_user_annotation
    ]
    events.sort(key=lambda event: -getattr(event, own))
    total = sum(getattr(event, own) for event in events) or 1.0
    listed = "; ".join(
        f"{getattr(event, own) / total:.1%} {event.count / times:g}× {event.key[:170]}" for event in events[:n]
    )
    n_kernels = sum(event.count for event in events) / times
    return f"{n_kernels:g} kernels a step, busy {total / 1e3 / times:.3f} ms of {wall:.3f} (profiled): {listed}"
