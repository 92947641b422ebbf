"""The experiments that come with the service: one TOML file each in `studies/catalogue/`, named by its file."""

import importlib.resources
from dataclasses import dataclass
from importlib.resources.abc import Traversable

from studies.errors import UnknownName

NOT_A_STUDY = "published"
"`published.toml` holds the reproduction report's numbers, to compare with; it cannot be run."


@dataclass(frozen=True)
class CatalogueEntry:
    """One line of `rigl-study catalogue list`.

    Attributes:
        name: what `create` and `run` take.
        description: one line for people.
        reproduces: the table or figure of the reproduction report it repeats, "-" if none.
        tickets: how many trials it has, over all its studies.
        runs: how many networks it trains: tickets times seeds.
        gpu_hours: what it takes on the GPU of `benchmarks/RESULTS.md`; None where nobody has measured it.
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
                gpu_hours=None,
            )
        )
    return entries
