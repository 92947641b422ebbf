"""Settings of [fixed] that name another run (`from:STUDY#TRIAL`), as long as they are only names.

A specification may hold one until `studies.sources.resolve_sources` has looked it up; it is never stored so.
"""

from collections.abc import Collection, Mapping
from typing import Any

from rigl_core.distributions import distribution_name
from rigl_core.errors import BadInput
from rigl_core.source import Source, is_source

PINS = ("layer_sparsity", "masks_sha256")
"""What looking up fills in, for a worker that can see neither the source's study nor its name."""


def pending_source(fixed: Mapping[str, Any]) -> tuple[str, Source] | None:
    """The setting of [fixed], "masks" or "distribution", that is still to be looked up, and what it names.

    Raises:
        BadInput: the name is malformed, or both settings are given.
    """
    if any(pin in fixed for pin in PINS):
        return None
    if "masks" in fixed:
        if "distribution" in fixed:
            raise BadInput("fixed.distribution: masks say how the sparsity is distributed too; leave distribution out.")
        return "masks", _parse("masks", fixed["masks"])
    if is_source(fixed.get("distribution")):
        return "distribution", _parse("distribution", fixed["distribution"])
    return None


def unresolved(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a study file may have them: without what looking up a source has filled in."""
    filled_in = {*PINS, "distribution"} if "masks" in settings else {*PINS}
    return {key: value for key, value in settings.items() if key not in filled_in}


def check_rest(key: str, paired: bool, searched: Collection[str]) -> None:
    """Refuse to vary what a source decides.

    Raises:
        BadInput: sparsity or distribution is in [pairs] or in [search].
    """
    if paired:
        raise BadInput(f"pairs: fixed.{key} brings its own sparsity and distribution; remove [pairs].")
    for name in ("sparsity", "distribution"):
        if name in searched:
            raise BadInput(f"search.{name}: fixed.{key} brings its own {name}; remove it from [search].")


def paired_distribution(name: str) -> str:
    """The key of DISTRIBUTIONS that a word in [pairs] stands for.

    Raises:
        UnknownName: none.
        BadInput: the word names a run.
    """
    if is_source(name):
        raise BadInput(f'distribution "{name}" is a single run with a sparsity of its own; put it in [fixed].')
    return distribution_name(name)


def _parse(key: str, value: object) -> Source:
    try:
        return Source.parse(str(value))
    except BadInput as error:
        raise BadInput(f"fixed.{key}: {error}") from None
