"""Everything one training run depends on, validated, without importing torch."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from rigl_core.config_checks import check_what_is_trained
from rigl_core.data import get_dataset
from rigl_core.distributions import distribution_name
from rigl_core.errors import BadInput
from rigl_core.limits import MAX_WHOLE
from rigl_core.methods import get_method
from rigl_core.models import get_model
from rigl_core.options import check_options
from rigl_core.recipes import with_recipe
from rigl_core.schedules import CubicRamp, UpdateSchedule
from rigl_core.source import Source, is_source


def _no_word(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("word_for_number", "it must be a number; true and false are for what is on or off")
    return value


NoWord = BeforeValidator(_no_word)
"""Of a number in a list or a table, where pydantic would take true for 1."""

Number = Annotated[float, NoWord]
Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=MAX_WHOLE)]
CountFromZero = Annotated[int, Field(ge=0, le=MAX_WHOLE)]
Sha256 = Annotated[
    str,
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
    Field(pattern="^[0-9a-f]{64}$"),
]


class TrainConfig(BaseModel):
    """One configuration, trained on all its seeds in lockstep. Units: steps are mini-batches, fractions are in [0, 1].

    The defaults are the reproduction report's CIFAR-10 recipe where it has one (Sundar & Dwaraknath 2021, §4).
    What only concerns the machine (device, data folder, threads) is not here: it may not change a result's meaning.
    Campaigns are stored as they were written, so a default never changes; a new setting has the default that trains as
    before it was there, and a row in `rigl_core.checkpoint.ADDED`.

    Raises (on construction):
        pydantic.ValidationError: a value outside its range or an unknown key.
        UnknownName: a method, model, data set, distribution or anneal that is in no registry.
        BadInput: values that do not fit together, for example options the model does not take.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    recipe: str | None = None
    "A key of RECIPES, whose settings fill in what is not set here."
    method: str = "rigl"
    model: str = "lenet_300_100"
    model_options: dict[str, Number] = Field(default_factory=dict)
    dataset: str = "fashion_mnist"
    dataset_options: dict[str, Number] = Field(default_factory=dict)
    text_file: str | None = None
    "The file of the data set text, see `rigl_core.data.text_file` for where a relative path is looked for."
    text_sha256: Sha256 | None = None
    "What is in it, as `sha256sum` prints it: a path alone could be another text tomorrow or on another machine."
    train_size: Count | None = None
    "Use only the first so many training images or sequences of text (after the split)."

    sparsity: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    distribution: str = "erk"
    "A key of DISTRIBUTIONS, or from:STUDY#TRIAL: the layer-wise sparsities which that run ended with."
    layer_sparsity: dict[str, Annotated[Fraction, NoWord]] | None = None
    "Those sparsities, by weight name, looked up when the campaign was created. Of this run, `sparsity` only says so."
    masks: str | None = None
    "from:STUDY#TRIAL: begin with that run's final masks and, as the seeds are the same, with its initial weights."
    masks_sha256: Sha256 | None = None
    "Of the file they are in; see `rigl_core.masks_file`."
    alpha: Fraction = 0.3
    delta_t: Count = 100
    t_end_fraction: Fraction = 0.75
    anneal: str = "cosine"
    anneal_power: Positive = 3.0
    "k of the anneal inverse_power."
    grow_accumulation: Count = 1
    "Steps over which the gradients are averaged that decide what grows, at most `delta_t`: each update starts anew."
    ramp_start: CountFromZero = 700
    "Step at which the method pruning begins; `train_multiplier` does not stretch it (nor do the report's authors)."

    epochs: Annotated[int, Field(ge=1)] = 250
    train_multiplier: Positive = 1.0
    "Train so many times longer: epochs, warm-up, learning-rate drops and t_end all stretch by it."
    batch_size: Annotated[int, Field(ge=1)] = 128
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: Positive = 0.1
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    "Of SGD, as is `nesterov`; Adam has moments of its own (β₁ 0.9, β₂ 0.999, ε 1e-8)."
    nesterov: bool = True
    weight_decay: NonNegative = 5e-4
    "L2: added to the gradients of maskable weights, times the weight, by either optimizer (not AdamW's decay)."
    clip_norm: Positive | None = None
    "Scale gradients down to this norm, all of the network's taken together; see `SparseOptimizer`."
    lr_drop_every: CountFromZero = 0
    "Multiply the learning rate by `lr_drop_factor` every so many steps after the warm-up; 0 never does."
    lr_drop_factor: Annotated[float, Field(gt=0.0, le=1.0)] = 0.2
    warmup_steps: CountFromZero | None = None
    "Steps of linear warm-up; None takes the method's own (3,500 for pruning, 0 for the others)."
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    augmentation: Literal["none", "crop_flip", "resized_crop_flip"] = "none"

    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31), NoWord], ...], Field(min_length=1)] = (0,)

    @model_validator(mode="before")
    @classmethod
    def _fill_in_recipe(cls, values: Any) -> Any:
        return with_recipe(values) if isinstance(values, Mapping) else values

    @field_validator("*", mode="before")
    @classmethod
    def _no_word_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and info.field_name != "nesterov":  # pydantic would take true for 1
            word = str(value).lower()
            raise BadInput(f"{info.field_name} is {word}, which is for what is on or off; give its value.")
        return value

    @field_validator("distribution")
    @classmethod
    def _canonical_distribution(cls, value: str) -> str:
        return str(Source.parse(value)) if is_source(value) else distribution_name(value)

    @field_validator("masks")
    @classmethod
    def _canonical_masks(cls, value: str | None) -> str | None:
        return None if value is None else str(Source.parse(value))

    @model_validator(mode="after")
    def _names_and_options(self) -> Self:
        method = get_method(self.method)
        check_options("model", self.model, self.model_options, get_model(self.model).takes)
        check_options("data set", self.dataset, self.dataset_options, get_dataset(self.dataset).takes)
        UpdateSchedule(delta_t=self.delta_t, t_end=0, anneal=self.anneal)  # refuses an anneal there is not
        check_what_is_trained(self)
        if method.drop is not None and self.grow_accumulation > self.delta_t:
            raise BadInput(
                f"grow_accumulation is {self.grow_accumulation}, above delta_t, which is {self.delta_t}: there are no "
                "more gradients than that between two updates."
            )
        if self.optimizer == "sgd" and self.momentum == 0.0:
            if method.needs_momentum:
                raise BadInput(
                    f'method "{self.method}" looks at momentum, which is 0; set it above 0, for example 0.9.'
                )
            if self.nesterov:
                raise BadInput("nesterov is true but momentum is 0; set momentum above 0 or nesterov = false.")
        if len(set(self.seeds)) != len(self.seeds):
            raise BadInput(f"seeds are {list(self.seeds)}; every seed may appear once.")
        return self

    @property
    def n_epochs(self) -> int:
        """How many epochs are trained: `epochs` stretched by `train_multiplier`, at least 1."""
        return max(1, round(self.epochs * self.train_multiplier))

    @property
    def n_steps(self) -> int | None:
        """How many mini-batches are trained in all; None where the size of the data is not known before it is read."""
        n_items = self.train_size or get_dataset(self.dataset).n_items(self.dataset_options)
        return None if n_items is None else math.ceil(n_items / self.batch_size) * self.n_epochs

    @property
    def masks_stand_still(self) -> bool:
        """Whether the method would move masks, but this training is known to end before `delta_t` is over."""
        if self.n_steps is None or get_method(self.method).drop is None or self.t_end_fraction == 0:
            return False
        schedule = self.topology_schedule(self.n_steps)
        return isinstance(schedule, UpdateSchedule) and schedule.n_updates(self.n_steps) == 0

    @property
    def n_warmup_steps(self) -> int:
        """Steps of linear warm-up, stretched as `train_multiplier` says."""
        own = get_method(self.method).warmup_steps if self.warmup_steps is None else self.warmup_steps
        return round(own * self.train_multiplier)

    def lr_at(self, step: int) -> float:
        """The learning rate of `step`: linear warm-up, then the step schedule from its end on, both stretched.

        That the drops wait for the warm-up is not in the report, but in its authors' code.
        """
        warmup = self.n_warmup_steps
        if step < warmup:
            return self.lr * (step + 1) / warmup
        if not self.lr_drop_every:
            return self.lr
        period = max(1, round(self.lr_drop_every * self.train_multiplier))
        return self.lr * math.pow(self.lr_drop_factor, (step - warmup) // period)

    def topology_schedule(self, n_steps: int) -> UpdateSchedule | CubicRamp:
        """When the topology changes in a training of `n_steps` steps in all.

        Raises:
            BadInput: the training is too short for the ramp of pruning.
        """
        t_end = int(self.t_end_fraction * n_steps)
        if get_method(self.method).ramp:
            t_end = min(t_end, n_steps - 1)  # the last step there is, or the ramp would never arrive
            return CubicRamp(delta_t=self.delta_t, t_start=self.ramp_start, t_end=t_end, sparsity=self.sparsity)
        return UpdateSchedule(
            delta_t=self.delta_t, t_end=t_end, alpha=self.alpha, anneal=self.anneal, anneal_power=self.anneal_power
        )
