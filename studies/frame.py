"""The trials of a campaign as one tidy DataFrame. `load_frame` is the only reader of trials behind every report.

One row is one trial. The declared columns (`COLUMNS`) come first; one column for each searched parameter follows,
named by `param_column`. Rows stand in the order of the studies in the specification, then by trial number, so that the
same database always gives the same frame.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import pandas as pd
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from studies.attributes import FIXED_PARAMS_ATTR
from studies.campaigns import open_campaign
from studies.database.transactions import RETRY_OF_ATTR
from studies.reporting.computing import uncollected
from studies.search_space import Params, Value, same_params
from studies.spec import SPEC_VERSION, StudyPlan, StudySpec

STATES = ("waiting", "running", "complete", "pruned", "failed", "retried")
"""Where a trial stands. "retried" is a trial that died and whose ticket another trial has taken over."""


@dataclass(frozen=True)
class Column:
    """One declared column: its name, its pandas dtype and what a value of it means."""

    name: str
    dtype: str
    meaning: str


COLUMNS = (
    Column("campaign", "string", "name of the campaign"),
    Column("study", "category", "name of the study, ordered as in the specification; studies without trials included"),
    Column("method", "string", "method trained; missing while the sampler has not chosen it"),
    Column("sparsity", "float64", "fraction of masked-out weights asked for"),
    Column("distribution", "string", "per-layer sparsity rule"),
    Column("masks", "string", "the run whose final masks and initial weights it began with (from:STUDY#TRIAL), if any"),
    Column("number", "Int64", "number of the trial within its study, from 0"),
    Column("state", "category", "one of STATES"),
    Column("is_reference", "boolean", "whether its parameters are the specification's reference"),
    Column("value", "float64", "mean validation accuracy over the seeds after the last epoch trained (a fraction)"),
    Column("seeds", "object", "tuple of the seeds trained"),
    Column("val_accuracy", "object", "tuple of final validation accuracies, one a seed"),
    Column("test_accuracy", "object", "tuple of final test accuracies, one a seed; never used to select"),
    Column("loss", "object", "tuple of final training losses, one a seed"),
    Column("bits_per_character", "object", "of text: tuple of final validation bits per character, one a seed"),
    Column("test_bits_per_character", "object", "of text: the same on test; never used to select"),
    Column("inference_flops", "float64", "forward FLOPs as a multiple of the dense network's"),
    Column("train_flops", "float64", "training FLOPs as a multiple of dense training's"),
    Column("dense_flops", "float64", "forward FLOPs of one sample through the dense network"),
    Column("n_parameters", "Int64", "parameters of the network, masked ones included"),
    Column("n_active", "Int64", "active maskable weights at the end"),
    Column("realised_sparsity", "float64", "sparsity of the maskable weights at the end"),
    Column("epochs", "Int64", "epochs trained; fewer than planned when pruned or failed"),
    Column("seconds", "float64", "wall-clock seconds spent training"),
    Column("epochs_recomputed", "Int64", "epochs trained again after an interruption, over all attempts at its ticket"),
    Column("worker", "string", "who trained it"),
    Column("device", "string", "device it was trained on"),
    Column("attempt", "Int64", "1, and one more for every worker that died at its ticket before"),
    Column("retry_of", "Int64", "number of the died trial that this one takes over"),
    Column("started", "datetime64[us]", "when it was claimed, by the database's clock, in UTC"),
    Column("finished", "datetime64[us]", "when it ended, by the database's clock, in UTC"),
    Column("error", "string", "why it failed"),
    Column("curve", "object", "dict of mean validation accuracy by epoch, from 0"),
    Column("layer_sparsity", "object", "dict of final sparsity by layer, the mean over the seeds"),
    Column("initial_layer_sparsity", "object", "the same before the first step; empty where an older version trained"),
    Column("explored", "object", "tuple of R_s by epoch: fraction of maskable weights active at least once so far"),
    Column("inference_flops_by_epoch", "object", "tuple of inference_flops after each epoch, the mean over the seeds"),
    Column("environment", "object", "dict of versions, device and host"),
)
_PREFIX = "params_"
DECLARED = tuple(column.name for column in COLUMNS)

_FROM_RESULT = (
    *("inference_flops", "train_flops", "dense_flops", "n_parameters", "n_active", "realised_sparsity"),
    *("seconds", "epochs_recomputed", "worker", "attempt", "error"),
)
_PER_SEED = ("seeds", "val_accuracy", "test_accuracy", "loss", "bits_per_character", "test_bits_per_character")
STATE_OF = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True)
class Provenance:
    """What a campaign was asked to do, beside its trials.

    Attributes:
        campaign: name of the campaign.
        spec: its specification.
        spec_version: version of the stored specification.
        versions: of the programs that read it, by name.
    """

    campaign: str
    spec: StudySpec
    spec_version: int
    versions: Mapping[str, str]

    @property
    def labels(self) -> dict[str, str]:
        """The pairs in words, by the names of their studies."""
        return {plan.name: plan.label for plan in self.spec.plans()}


def param_column(name: str) -> str:
    """The column of a searched parameter: its name, behind "params_" where a declared column has that name already.

    So has a name that begins with "params_" and goes on like a declared column: no two parameters share a column.
    """
    return f"{_PREFIX}{name}" if _is_declared(name) else name


def param_columns(frame: pd.DataFrame) -> dict[str, str]:
    """The searched parameters of a frame and their columns, in the order of the specification."""
    columns = [str(column) for column in frame.columns if column not in DECLARED]
    return {_param_of(column): column for column in columns}


def _param_of(column: str) -> str:
    name = column.removeprefix(_PREFIX)
    return name if name != column and _is_declared(name) else column


def _is_declared(name: str) -> bool:
    """Whether a column has the name, with "params_" before it any number of times."""
    while name.startswith(_PREFIX):
        name = name.removeprefix(_PREFIX)
    return name in DECLARED


@uncollected()
def load_frame(storage: BaseStorage, campaign: str) -> pd.DataFrame:
    """Every trial of a campaign, one a row.

    Raises:
        NotFound: no such campaign is stored.
        BadInput: its creation was interrupted.
        SpecVersionError: it is stored in another format.
    """
    stored = open_campaign(storage, campaign)
    rows: list[dict[str, Any]] = []
    for queue in stored.queues:
        rows.extend(_rows(queue.plan, queue.trials()))
    return build_frame(rows, studies=[queue.name for queue in stored.queues], search=list(stored.spec.search))


def build_frame(
    rows: Sequence[Mapping[str, Any]], *, studies: Sequence[str], search: Sequence[str], states: Sequence[str] = STATES
) -> pd.DataFrame:
    """Rows (values by column name, missing where absent) as a frame of the declared schema."""
    data: dict[str, pd.Series[Any]] = {}
    for column in COLUMNS:
        values = [row.get(column.name) for row in rows]
        dtype: Any = column.dtype
        if column.name == "study":
            dtype = pd.CategoricalDtype(list(studies), ordered=True)
        elif column.name == "state":
            dtype = pd.CategoricalDtype(list(states))
        data[column.name] = pd.Series(values, dtype=dtype)
    for name in search:
        values = [row.get(param_column(name)) for row in rows]
        data[param_column(name)] = pd.Series(values, dtype=_param_dtype(v for v in values if v is not None))
    return pd.DataFrame(data)


def load_provenance(storage: BaseStorage, campaign: str) -> Provenance:
    """The specification a campaign was created from, and the versions of what reads it.

    Raises:
        NotFound: no such campaign is stored.
        BadInput: its creation was interrupted.
        SpecVersionError: it is stored in another format.
    """
    return provenance_of(open_campaign(storage, campaign).spec)


def provenance_of(spec: StudySpec) -> Provenance:
    """The provenance of a campaign with this specification, read by the programs that run now."""
    return Provenance(spec.name, spec, SPEC_VERSION, {name: version(name) for name in ("rigl-study", "optuna")})


def _rows(plan: StudyPlan, trials: Sequence[FrozenTrial]) -> Iterable[dict[str, Any]]:
    retried = {trial.system_attrs.get(RETRY_OF_ATTR) for trial in trials}
    return [_row(plan, trial, was_retried=trial.number in retried) for trial in trials]


def _row(plan: StudyPlan, trial: FrozenTrial, *, was_retried: bool) -> dict[str, Any]:
    told = trial.user_attrs
    curve = {int(epoch): float(value) for epoch, value in sorted(trial.intermediate_values.items())}
    # A ticket that nobody has claimed yet keeps the parameters it was enqueued with apart.
    params: Params = dict(trial.params or trial.system_attrs.get(FIXED_PARAMS_ATTR, {}))
    state = "retried" if was_retried and trial.state == TrialState.FAIL else STATE_OF[trial.state]
    environment = told.get("environment") or {}
    return {
        "campaign": plan.spec.name,
        "study": plan.name,
        **{key: _own_value(plan, key, params) for key in ("method", "sparsity", "distribution")},
        "masks": plan.base_config.masks,
        "number": trial.number,
        "state": state,
        "is_reference": _is_reference(plan.spec, params),
        "value": _value(trial, curve),
        **{key: _numbers(told.get(key)) for key in _PER_SEED},
        **{key: told.get(key) for key in _FROM_RESULT},
        "epochs": told.get("epochs", len(curve) if trial.state.is_finished() else None),
        "device": environment.get("device"),
        "retry_of": trial.system_attrs.get(RETRY_OF_ATTR),
        "started": trial.datetime_start,
        "finished": trial.datetime_complete,
        "curve": curve,
        **{key: dict(told.get(key) or {}) for key in ("layer_sparsity", "initial_layer_sparsity")},
        **{key: _numbers(told.get(key)) for key in ("explored", "inference_flops_by_epoch")},
        "environment": dict(environment),
        **{param_column(name): value for name, value in params.items()},
    }


def _numbers(values: Sequence[Any] | None) -> tuple[Any, ...]:
    return tuple(math.nan if value is None else value for value in values or ())  # JSON has no NaN


def _own_value(plan: StudyPlan, key: str, params: Params) -> Value | None:
    return params.get(key) if key in plan.spec.search else getattr(plan.base_config, key)


def _value(trial: FrozenTrial, curve: Mapping[int, float]) -> float:
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
        return math.nan
    last = curve[max(curve)] if curve else math.nan
    return last if trial.values is None else trial.values[0]


def _is_reference(spec: StudySpec, params: Params) -> bool:
    return same_params(params, spec.strategy.reference or {})


def _param_dtype(values: Iterable[Value]) -> str:
    kinds = {type(value) for value in values}
    if kinds and kinds <= {int}:
        return "Int64"
    if kinds <= {int, float}:
        return "float64"
    return "boolean" if kinds == {bool} else "string" if kinds == {str} else "object"
