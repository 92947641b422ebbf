"""The numbers of `studies/catalogue/published.toml`, checked."""

import functools
import importlib.resources
import math
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rigl_core.distributions import DISTRIBUTIONS
from rigl_core.errors import BadInput, UnknownName
from rigl_core.methods import get_method
from rigl_core.recipes import RECIPES
from studies.search_space import Params

ANY = "any"
"""The distribution of a method whose masks no distribution draws."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Place(_Frozen):
    """What a published number is of.

    `alpha` and `delta_t` are what a search chose, where the number is that setting's; else both are the recipe's.
    """

    method: str
    sparsity: Annotated[float, Field(ge=0.0, lt=1.0)]
    distribution: str
    train_multiplier: Annotated[float, Field(gt=0.0)] = 1.0
    alpha: float | None = None
    delta_t: int | None = None

    @property
    def tuned(self) -> Params:
        """The values that a search chose, by the name of the parameter; of the recipe's setting nothing."""
        chosen = {"alpha": self.alpha, "delta_t": self.delta_t}
        return {name: value for name, value in chosen.items() if value is not None}

    @model_validator(mode="after")
    def _known(self) -> Self:
        get_method(self.method)
        if self.distribution != ANY and self.distribution not in DISTRIBUTIONS:
            raise UnknownName("distribution", self.distribution, [*DISTRIBUTIONS, ANY])
        return self


class Row(Place):
    """One published number: test accuracy in percent, FLOPs as multiples of the dense network's."""

    test: Annotated[float, Field(ge=0.0, le=100.0)]
    std: Annotated[float, Field(ge=0.0, le=100.0)]
    train_flops: float | None = None
    inference_flops: float | None = None


class PublishedTable(_Frozen):
    """Numbers from one place, and the settings they have in common.

    `campaigns` are the experiments of the catalogue that repeat it, `recipe` is the key of RECIPES they were trained
    by, and `seeds` says how many there are behind each number. `lacks` is what was published too, but could not be had.
    """

    name: str
    source: str
    campaigns: tuple[str, ...] = ()
    recipe: str
    seeds: Annotated[int, Field(ge=2)]
    rows: Annotated[tuple[Row, ...], Field(min_length=1)]
    lacks: tuple[Place, ...] = ()

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.recipe not in RECIPES:
            raise UnknownName("recipe", self.recipe, RECIPES)
        keys = [Place(**row.model_dump(include=set(Place.model_fields))) for row in self.rows] + list(self.lacks)
        if len(set(keys)) != len(keys):
            raise BadInput(f'published table "{self.name}" has two rows with the same settings.')
        return self

    @property
    def settings(self) -> Mapping[str, Any]:
        """What all its rows were trained with, by the name of the setting."""
        return RECIPES[self.recipe]

    def standard_error(self, row: Row) -> float:
        """Of a row's mean, in points."""
        return row.std / math.sqrt(self.seeds)


@functools.cache
def published_tables() -> tuple[PublishedTable, ...]:
    """Every table, in the order of the file.

    Raises:
        pydantic.ValidationError, UnknownName, BadInput: the file that was shipped is wrong.
    """
    file = importlib.resources.files("studies") / "catalogue" / "published.toml"
    content = tomllib.loads(file.read_text(encoding="utf-8"))
    return tuple(PublishedTable.model_validate(table) for table in content["table"])
