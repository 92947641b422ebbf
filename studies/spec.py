"""What a user asks for: the campaign (`StudySpec`) and one study of it (`StudyPlan`); trials are in `studies.trial`.

Everything here is data: validated once, stored as JSON in the database, and all that a worker needs to train.
Importing this module loads neither Optuna nor torch.
"""

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from rigl_core.config import NoWord, Number, TrainConfig
from rigl_core.distributions import TITLES, distribution_name
from rigl_core.errors import BadInput, UnknownName
from rigl_core.source import Source, is_source
from studies.complaints import one_line
from studies.errors import SpecError
from studies.search_space import Axis, Params, Value, corners, fitted, grid, same_params
from studies.source_settings import check_rest, paired_distribution, pending_source
from studies.strategies import PRUNERS, SAMPLERS

SPEC_VERSION = 1
"""Version of the stored specification. A worker runs exactly this version and leaves other tickets waiting."""

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
MAX_TICKETS = 100_000
"""Of one study."""
MAX_PAIRS = 1_000
"""Each is a study of its own."""
MAX_CAMPAIGN_TICKETS = 1_000_000
MAX_CHECKS = 20_000
"""Configurations that are validated before a campaign is stored, those of the first pair aside; seconds in all."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _one_or_more(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


class Pairs(_Frozen):
    """One Optuna study for each combination of a sparsity and a distribution."""

    sparsity: Annotated[tuple[Number, ...], BeforeValidator(_one_or_more), Field(min_length=1)]
    distribution: Annotated[tuple[str, ...], BeforeValidator(_one_or_more), Field(min_length=1)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        n_pairs = len(self.sparsity) * len(self.distribution)
        if n_pairs > MAX_PAIRS:
            raise BadInput(f"[pairs] makes {n_pairs:,} studies; at most {MAX_PAIRS:,} are allowed in a campaign.")
        names = [paired_distribution(name) for name in self.distribution]
        if len(set(names)) != len(names) or len(set(self.sparsity)) != len(self.sparsity):
            raise BadInput(f"sparsity {list(self.sparsity)} × distribution {list(self.distribution)} repeats a pair.")
        return self


class Pruner(_Frozen):
    """An early-stopping rule and its options (keys of `PRUNERS[name].options`)."""

    name: str = "none"
    options: dict[str, Number] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping) and "options" not in value:
            return {"name": value.get("name", "none"), "options": {k: v for k, v in value.items() if k != "name"}}
        return value

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.name not in PRUNERS:
            raise UnknownName("pruner", self.name, PRUNERS)
        PRUNERS[self.name].check(self.name, self.options)
        return self


class Strategy(_Frozen):
    """How the search box is searched.

    `n_trials` counts the reference. `seeds` are the replicas of every trial; `seed` makes samplers repeatable.
    """

    sampler: str = "tpe"
    n_trials: Annotated[int, Field(ge=1, le=MAX_TICKETS), NoWord] | None = None
    seeds: Annotated[tuple[Annotated[int, NoWord], ...], Field(min_length=1)] = (0, 1, 2)
    pruner: Pruner = Pruner()
    reference: dict[str, Value] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31), NoWord] = 0

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.sampler not in SAMPLERS:
            raise UnknownName("sampler", self.sampler, SAMPLERS)
        return self


class StudySpec(_Frozen):
    """A whole campaign, as written in TOML. Validated down to every corner of the search box.

    Raises (on construction):
        pydantic.ValidationError: unknown keys or values of the wrong kind.
        BadInput: values that do not fit together.
    """

    name: str
    description: str = ""
    reproduces: str = ""
    "The table or figure of the reproduction report this campaign repeats."
    fixed: dict[str, Any] = Field(default_factory=dict)
    pairs: Pairs | None = None
    search: dict[str, Axis] = Field(default_factory=dict)
    strategy: Strategy = Strategy()

    @field_validator("search")
    @classmethod
    def _fitted(cls, search: dict[str, Axis]) -> dict[str, Axis]:
        return {key: fitted(key, axis, _number(key)) for key, axis in search.items()}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not NAME_PATTERN.fullmatch(self.name):
            raise BadInput(
                f'name "{self.name}" may hold letters, digits, ".", "_" and "-", must start with a letter or digit '
                "and have at most 80 characters."
            )
        if self.pending is not None:
            check_rest(self.pending[0], self.pairs is not None, self.search)
            self.without_source()  # as much as can be checked before the source is looked up
            return self
        _check_keys(self)
        _check_budget(self)
        _check_reference(self)
        _check_corners(self)
        return self

    @property
    def pending(self) -> tuple[str, Source] | None:
        """The setting that names another run and is still to be looked up (`resolve_sources`), and that run."""
        return pending_source(self.fixed)

    def without_source(self) -> "StudySpec":
        """The same campaign without the setting that is `pending`."""
        if self.pending is None:
            return self
        kept = {key: value for key, value in self.fixed.items() if key != self.pending[0]}
        return StudySpec.model_validate(self.model_dump(mode="json") | {"fixed": kept})

    def plans(self) -> list["StudyPlan"]:
        """One plan for each (sparsity, distribution) pair, in the order written."""
        if self.pairs is None:
            return [StudyPlan(spec=self, pair={})]
        return [
            StudyPlan(spec=self, pair={"sparsity": sparsity, "distribution": distribution_name(distribution)})
            for sparsity, distribution in itertools.product(self.pairs.sparsity, self.pairs.distribution)
        ]

    def canonical_json(self) -> str:
        """The specification as JSON, the same text for the same campaign."""
        return self.model_dump_json()


def pair_in_words(sparsity: float | None, distribution: str | None, masks: str | None) -> str:
    """A pair in words, "S = 0.98 ERK". What is None is searched; `masks` are those of another run, if any."""
    words = "any S" if sparsity is None else f"S = {sparsity:g}"
    if distribution is None:
        return words
    # The exact masks of another run are not the same thing as fresh ones with its sparsities.
    return f"{words} {TITLES.get(distribution, distribution) if masks is None else f'masks {masks}'}"


@dataclass(frozen=True)
class StudyPlan:
    """One study of a campaign: the specification and its (sparsity, distribution) pair."""

    spec: StudySpec
    pair: Mapping[str, Value]

    @property
    def name(self) -> str:
        """CAMPAIGN/METHOD-sSPARSITY-DISTRIBUTION; "any" stands for what is searched, "from" for another run's."""
        parts = {
            key: "any" if key in self.spec.search else self.pair.get(key, getattr(self.base_config, key))
            for key in ("method", "sparsity", "distribution")
        }
        # All its digits: two pairs must never share a name, and with it a budget.
        shown = str(parts["sparsity"]).removesuffix(".0")
        distribution = "from" if is_source(parts["distribution"]) else parts["distribution"]
        return f"{self.spec.name}/{parts['method']}-s{shown}-{distribution}"

    @property
    def label(self) -> str:
        """The pair in words, as reports name it."""
        searched, config = self.spec.search, self.base_config
        return pair_in_words(
            None if "sparsity" in searched else config.sparsity,
            None if "distribution" in searched else config.distribution,
            config.masks,
        )

    @property
    def base_config(self) -> TrainConfig:
        """The configuration with every searched parameter at its default or reference."""
        return self.config(self.spec.strategy.reference or {k: a.corners()[0] for k, a in self.spec.search.items()})

    def config(self, params: Mapping[str, Value]) -> TrainConfig:
        """The training configuration of a trial with these searched parameters."""
        return TrainConfig.model_validate({**self.spec.fixed, **self.pair, **params, "seeds": self.spec.strategy.seeds})

    def tickets(self) -> list[Params]:
        """The parameters of every ticket, the reference first; {} is filled by the sampler when claimed."""
        reference = self.spec.strategy.reference
        if self.spec.strategy.sampler != "grid":
            n_trials = self.spec.strategy.n_trials or 1
            return [dict(reference) if reference and i == 0 else {} for i in range(n_trials)]
        points = grid(self.spec.search)
        if not reference:
            return points
        return [dict(reference), *(point for point in points if not same_params(point, reference))]


def _number(key: str) -> type[int] | type[float] | None:
    """Int or float for a setting that is a number, None for any other."""
    field = TrainConfig.model_fields.get(key)
    annotation = field.annotation if field else None
    # A bare int, or one of `Annotated[int, ...] | None`.
    kinds = {annotation} | {get_args(part)[0] if get_args(part) else part for part in get_args(annotation)}
    if get_origin(annotation) is dict:
        return None
    return int if int in kinds else float if float in kinds else None


def _check_keys(spec: StudySpec) -> None:
    fields = set(TrainConfig.model_fields) - {"seeds"}
    paired = {"sparsity", "distribution"} if spec.pairs else set()
    unsearchable = {"model_options", "dataset_options", "layer_sparsity", "masks", "masks_sha256"}
    for section, keys in (("fixed", spec.fixed), ("search", spec.search)):
        for key in keys:
            if key == "seeds":
                raise BadInput(f"{section}.seeds: seeds are the replicas of every trial; set strategy.seeds.")
            if key not in fields:
                raise UnknownName(f"key in [{section}]", key, sorted(fields))
            if key in paired:
                raise BadInput(f"{section}.{key}: {key} is given in [pairs] too; leave one of them out.")
            if section == "search" and key in unsearchable:
                raise BadInput(f"search.{key}: {key} cannot be searched; put it in [fixed].")
            if section == "search" and key in spec.fixed:
                raise BadInput(f"search.{key}: {key} is given in [fixed] too; leave one of them out.")


def _check_budget(spec: StudySpec) -> None:
    strategy, n_points = spec.strategy, 1
    if strategy.sampler == "grid":
        if strategy.n_trials is not None:
            raise BadInput(f"strategy.n_trials = {strategy.n_trials}: a grid has as many trials as points; remove it.")
        for key, axis in spec.search.items():
            if axis.points() is None:
                raise BadInput(f"search.{key}: a grid needs a list of values or a step, and {axis} is continuous.")
        n_points = math.prod(len(axis.points() or ()) for axis in spec.search.values())
        if n_points > MAX_TICKETS:
            raise BadInput(f"the grid has {n_points:,} points a study; at most {MAX_TICKETS:,} are allowed.")
    elif strategy.n_trials is None:
        raise BadInput(f'strategy.n_trials is missing; sampler "{strategy.sampler}" needs a number of trials a study.')
    elif not spec.search and strategy.n_trials > 1:
        raise BadInput(f"strategy.n_trials = {strategy.n_trials} but [search] is empty: every trial would be the same.")
    n_pairs = len(spec.plans())
    n_tickets = n_pairs * (strategy.n_trials or n_points)
    if n_tickets > MAX_CAMPAIGN_TICKETS:
        raise BadInput(
            f"{n_pairs:,} studies of {strategy.n_trials or n_points:,} trials are {n_tickets:,} trials; at most "
            f"{MAX_CAMPAIGN_TICKETS:,} are allowed in a campaign."
        )


def _check_reference(spec: StudySpec) -> None:
    reference = spec.strategy.reference
    if reference is None:
        return
    if set(reference) != set(spec.search):
        raise BadInput(
            f"strategy.reference sets {', '.join(sorted(reference)) or 'nothing'}; it must set exactly the searched "
            f"parameters: {', '.join(sorted(spec.search)) or 'none'}."
        )
    for key, value in reference.items():
        if not spec.search[key].contains(value):
            raise BadInput(f"strategy.reference.{key} = {value} is outside the search: {spec.search[key]}.")


def _check_corners(spec: StudySpec) -> None:
    """All corners of the box for the first pair; for the others as many as MAX_CHECKS allows, at least one each."""
    first, *others = spec.plans()
    for corner in corners(spec.search):
        _check_corner(first, corner)
    for plan in others:
        for corner in itertools.islice(corners(spec.search), max(1, MAX_CHECKS // len(others))):
            _check_corner(plan, corner)


def _check_corner(plan: StudyPlan, corner: Params) -> None:
    try:
        plan.config(corner)
    except (ValidationError, BadInput) as error:
        told = one_line(error) if isinstance(error, ValidationError) else str(error)
        at = ", ".join(f"{key} = {value}" for key, value in {**plan.pair, **corner}.items())
        raise SpecError(f"{told}" + (f" (at {at})" if at else "")) from None
