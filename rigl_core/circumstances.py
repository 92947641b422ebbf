"""What a run is computed with can change its last bits: threads, versions, device, kind of CPU, number format.

A run that is taken up again keeps the number of threads it began with (`rigl_core.runtime.computing_with`). The rest
belongs to the machine or was asked for, so that it can only be noted. Importing this module does not import torch.
"""

from collections.abc import Mapping

Circumstances = Mapping[str, tuple[str, ...]]
"""By name what the attempts of a run had, each value once, the earliest first."""

WITHOUT_EFFECT = ("host", "python")
"""Parts of an environment that change no bit."""


def joined(earlier: Circumstances, environment: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """What all attempts had.

    Args:
        earlier: what the attempts before this one had; empty for the first.
        environment: that of this attempt, as `rigl_core.runtime.environment` and `Replica.describe` tell it.
    """
    own = {name: value for name, value in environment.items() if name not in WITHOUT_EFFECT}
    return {name: tuple(dict.fromkeys((*earlier.get(name, ()), value))) for name, value in own.items()}


def differences(circumstances: Circumstances) -> str:
    """In what the attempts differed, for people: "torch 2.12.0, 2.13.0; precision float32, bfloat16"."""
    return "; ".join(f"{name} {', '.join(values)}" for name, values in circumstances.items() if len(values) > 1)
