"""What a checkpoint holds, checked against the run that is to go on from it, before anything of that run is changed."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rigl_core.errors import BadCheckpoint, CheckpointElsewhere
from rigl_core.replica import Replica

MOST_THREADS = 1024
"""More threads than this, which no machine has cores for, are not begun because a file says so."""
_MOMENTS = {"sgd": ("momentum_buffer",), "adam": ("exp_avg", "exp_avg_sq")}


def threads_of(saved: Any) -> int | None:
    """With how many threads the run was begun, whose state this is; None if it does not say.

    Args:
        saved: whatever was in the file.

    Raises:
        BadCheckpoint: no machine computes with so many.
    """
    threads = saved.get("threads") if isinstance(saved, dict) else None
    if threads is not None:
        sound = type(threads) is int and 1 <= threads <= MOST_THREADS
        _require(sound, f"state.threads is {_shown(threads)}, not 1 to {MOST_THREADS}")
    return threads


def checked_state(
    saved: Any,
    fresh: Mapping[str, Any],
    replicas: Sequence[Replica],
    *,
    fields: Iterable[str],
    batches_per_epoch: int,
) -> dict[str, Any]:
    """A copy of `saved` that its run can take as it is: plain containers and numbers, and tensors of their own.

    Args:
        saved: whatever was in the file, its tensors on the CPU.
        fresh: the state of the run before its first step.
        replicas: of the run, before its first step.
        fields: of the report of an epoch.
        batches_per_epoch: mini-batches of an epoch.

    Raises:
        CheckpointElsewhere: it was begun on a device that is not this one, and quicker than a CPU.
        BadCheckpoint: this run is in that state at no step; the message says why, and not in which file.
    """
    if isinstance(saved, dict):  # parts that came since format 2, as `rigl_core.checkpoint.ADDED` has settings
        saved = {"threads": fresh["threads"], "circumstances": {}, **saved}
    _like(saved, dict.fromkeys(fresh, object), "state")
    _check_circumstances(saved["circumstances"])
    begun_on = _like(saved["device"], str, "device")
    if begun_on != fresh["device"] and begun_on in ("cuda", "mps"):  # each kind has random streams of its own
        raise CheckpointElsewhere(f"it was begun on {begun_on}, and this is {fresh['device']}")
    step, n_epochs = _like(saved["step"], int, "step"), len(_like(saved["history"], list, "history"))
    begun = n_epochs * batches_per_epoch
    end = min(begun + batches_per_epoch, replicas[0].config.n_epochs * batches_per_epoch)
    _require(begun <= step <= end, f"step {_shown(step)} is none after {n_epochs} epochs; {begun} to {end} would be")
    config, values = replicas[0].config, (float,) * len(replicas)
    report: dict[str, Any] = dict.fromkeys(fields, values) | {
        "n_epochs": config.n_epochs,
        "seconds": float,
        "replayed": False,
    }
    report["bits_per_character"] = values if replicas[0].data.predicts_characters else ()
    look = {
        "device": fresh["device"],
        "threads": int,
        "circumstances": saved["circumstances"],
        "step": step,
        "seconds": float,
        "flops_sum": [float] * len(replicas),
        "history": [{**report, "epoch": epoch} for epoch in range(n_epochs)],
        "replicas": [_look(replica, own, step) for replica, own in zip(replicas, fresh["replicas"], strict=True)],
    }
    state: dict[str, Any] = _like(saved, look, "state")
    for i, replica in enumerate(replicas):
        _check_layers(replica, state["replicas"][i], f"state.replicas[{i}]")
        _check_counts(state["replicas"][i], replica.sparse.weight_steps(step), f"state.replicas[{i}]")
        _check_streams(replica, state["replicas"][i], f"state.replicas[{i}]")
    return state


def _look(replica: Replica, fresh: Mapping[str, Any], step: int) -> dict[str, Any]:
    """What a replica's state looks like before `step`, as `_like` reads it."""
    sparse, optimizer, n_steps = replica.sparse, dict(fresh["sparse"]["optimizer"]), replica.sparse.weight_steps(step)
    # The learning rate follows the schedule and is set anew at every step.
    optimizer["param_groups"] = [{**group, "lr": float} for group in optimizer["param_groups"]]
    count = {"step": torch.zeros(())} if replica.config.optimizer == "adam" else {}
    moments = _moments(replica)
    if n_steps and moments:
        parameters = [parameter for group in sparse.optimizer.param_groups for parameter in group["params"]]
        optimizer["state"] = {i: {**count, **dict.fromkeys(moments, p)} for i, p in enumerate(parameters)}
    summed = sparse.movable if step and sparse.sums_gradients_after(step - 1) else []
    # A method that neither prunes nor redistributes keeps the count of every layer.
    counts_move = sparse.method.ramp or sparse.method.redistribute is not None
    look = {
        **fresh["sparse"],
        "optimizer": optimizer,
        "n_active": dict.fromkeys(sparse.weights, int) if counts_move else sparse.masks.n_active,
        "gradient_sum": {name: sparse.weights[name] for name in summed},
    }
    return {**fresh, "sparse": look}


def _moments(replica: Replica) -> tuple[str, ...]:
    """The tensors of a weight's shape that the optimizer keeps for it."""
    config = replica.config
    return () if config.optimizer == "sgd" and config.momentum == 0.0 else _MOMENTS[config.optimizer]


def _like(saved: Any, look: Any, where: str) -> Any:
    """A copy of `saved` if it looks like `look`.

    A container looks like one of the same length or keys if its parts do, a tensor like one of its shape and dtype. A
    type is what any value of it looks like (numbers must be finite and not negative); anything else, only itself.

    Raises:
        BadCheckpoint: it does not.
    """
    if isinstance(look, dict):
        _require(
            isinstance(saved, dict) and saved.keys() == look.keys(),
            f"{where} does not have the parts ({_listed(look)})",
        )
        return {key: _like(saved[key], part, f"{where}.{key}") for key, part in look.items()}
    if isinstance(look, list | tuple):
        _require(
            type(saved) is type(look) and len(saved) == len(look), f"{where} is no {type(look).__name__} of {len(look)}"
        )
        return type(look)(
            _like(one, part, f"{where}[{i}]") for i, (one, part) in enumerate(zip(saved, look, strict=True))
        )
    if isinstance(look, Tensor):
        shape = tuple(look.shape)
        plain = type(saved) is Tensor and saved.device.type == "cpu" and saved.layout == torch.strided
        plain = plain and not saved.is_nested  # which has no shape
        _require(
            plain and saved.shape == look.shape and saved.dtype == look.dtype,
            f"{where} is no tensor {shape} of {look.dtype}",
        )
        return saved.detach().clone()  # in a file, tensors can share their memory
    if isinstance(look, type):
        _require(look is object or type(saved) is look, f"{where} is no {look.__name__}")
        sound = look not in (int, float) or 0 <= saved < math.inf
        _require(sound, f"{where} is {_shown(saved)}, which is not finite or below 0")
    else:
        _require(type(saved) is type(look) and saved == look, f"{where} is {_shown(saved)}, not {_shown(look)}")
    return saved


def _check_circumstances(saved: Any) -> None:
    """Lists of texts by name; which names there are changes from version to version."""
    _require(
        isinstance(saved, dict)
        and all(isinstance(values, list) for values in saved.values())
        and all(isinstance(text, str) for name, values in saved.items() for text in (name, *values)),
        "state.circumstances is no dict of lists of texts",
    )


def _check_layers(replica: Replica, state: Mapping[str, Any], where: str) -> None:
    """Masks agree with what was counted and explored, and what is outside them is zero."""
    method, sparse = replica.sparse.method, state["sparse"]
    for i, (name, mask) in enumerate(sparse["masks"].items()):  # the optimizer has the maskable weights first
        layer, n_active = f"{where}: layer {name}", int(mask.sum())
        _require(n_active == sparse["n_active"][name], f"{layer} has {n_active} active weights, and counts others")
        _require(not (mask & ~sparse["explored"][name]).any(), f"{layer} has active weights that were never explored")
        kept = {} if method.dense_momentum else sparse["optimizer"]["state"].get(i, {})
        for tensor in (state["model"][name], *(kept[moment] for moment in _moments(replica) if kept)):
            # NaN is what a diverging run makes of zero times infinity; its loss will tell.
            _require(not tensor[~mask].nan_to_num(nan=0.0).any(), f"{layer} is not zero outside its mask")


def _check_counts(state: Mapping[str, Any], n_steps: int, where: str) -> None:
    """Adam corrects its moments by the number of steps it has made."""
    for kept in state["sparse"]["optimizer"]["state"].values():
        _require(float(kept.get("step", n_steps)) == n_steps, f"{where}: the optimizer has not made {n_steps} steps")


def _check_streams(replica: Replica, state: Mapping[str, Any], where: str) -> None:
    for own, saved in (
        (replica.augment_random, state["augment_random"]),
        (replica.dropout_random, state["dropout_random"]),
        (replica.sparse.generator, state["sparse"]["generator"]),
    ):
        try:
            torch.Generator(own.device).set_state(saved)
        except RuntimeError as error:
            raise BadCheckpoint(f"{where}: a random stream is damaged") from error


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BadCheckpoint(otherwise)


def _listed(keys: Iterable[object]) -> str:
    text = ", ".join(map(str, keys))
    return text if len(text) <= 80 else f"{text[:77]}..."


def _shown(value: object) -> str:
    """A value from a file in a few letters; of anything but a number or text only the type."""
    text = repr(value) if isinstance(value, int | float | str | None) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
