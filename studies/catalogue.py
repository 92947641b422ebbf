"""The experiments that come with the service: one TOML file each in `studies/catalogue/`, named by its file."""

import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

from studies.errors import UnknownName

if TYPE_CHECKING:
    from rigl_core.config import TrainConfig
    from studies.spec import StudySpec

NOT_A_STUDY = "published"
"`published.toml` holds the reproduction report's numbers, to compare with; it cannot be run."

SECONDS_A_RUN: Mapping[tuple[str, str], float] = {("wrn_22_2", "cifar10"): 231.0, ("resnet50", "cifar100"): 899.0}
"""By model and data set, what RigL's 250 epochs of batches of 128 take on the H200 of `benchmarks/RESULTS.md`, not
compiled. There a dense step takes as long within 1 %, so that all methods are counted alike; small-dense networks are
narrower and take less than that."""


@dataclass(frozen=True)
class CatalogueEntry:
    """One line of `rigl-study catalogue list`.

    Attributes:
        name: what `create` and `run` take.
        description: one line for people.
        reproduces: the table or figure of the reproduction report it repeats, "-" if none.
        tickets: how many trials it has, over all its studies.
        runs: how many networks it trains: tickets times seeds.
        gpu_hours: about what it takes on the GPU of `SECONDS_A_RUN`; None where nobody has measured such a run.
    """

    name: str
    description: str
    reproduces: str
    tickets: int
    runs: int
    gpu_hours: float | None


def _folder() -> Traversable:
    return importlib.resources.files("studies") / "catalogue"


def catalogue_names() -> tuple[str, ...]:
    """The names of all experiments, sorted."""
    stems = (file.name.removesuffix(".toml") for file in _folder().iterdir() if file.name.endswith(".toml"))
    return tuple(sorted(stem for stem in stems if stem != NOT_A_STUDY))


def catalogue_text(name: str) -> str:
    """The TOML text of an experiment, comments included.

    Raises:
        UnknownName: no such experiment; the message names the nearest.
    """
    if name not in catalogue_names():
        raise UnknownName("catalogue entry", name, catalogue_names())
    return (_folder() / f"{name}.toml").read_text(encoding="utf-8")


def catalogue_entries() -> list[CatalogueEntry]:
    """Every experiment with its size, sorted by name."""
    from studies.spec_file import load_spec

    entries = []
    for name in catalogue_names():
        spec = load_spec(name)
        tickets = sum(len(plan.tickets()) for plan in spec.plans())
        entries.append(
            CatalogueEntry(
                name=name,
                description=spec.description,
                reproduces=spec.reproduces or "-",
                tickets=tickets,
                runs=tickets * len(spec.strategy.seeds),
                gpu_hours=_gpu_hours(spec),
            )
        )
    return entries


def _gpu_hours(spec: "StudySpec") -> float | None:
    """Of all its runs, from those that were measured."""
    seconds = 0.0
    for plan in spec.plans():
        for params in plan.tickets():
            a_run = _seconds(plan.config(params) if params else plan.base_config)
            if a_run is None:
                return None
            seconds += a_run * len(spec.strategy.seeds)
    return round(seconds / 3600, 1)


def _seconds(config: "TrainConfig") -> float | None:
    measured = SECONDS_A_RUN.get((config.model, config.dataset))
    if measured is None or config.batch_size != 128 or config.train_size is not None:
        return None
    return measured * config.n_epochs / 250
