"""Studies that another program made: read without a trace, and told in their own names, units and direction."""

import csv
import hashlib
import io
import json
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from jsonschema import Draft202012Validator
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import TrialState, create_trial
from typer.testing import CliRunner

from studies.cli import app
from studies.database.engines import engine_url
from studies.database.storage_url import StorageUrl
from studies.errors import BadInput, NotFound, UnknownName
from studies.foreign import load_foreign
from studies.foreign_finding import FEWEST, find
from studies.foreign_reference import written
from studies.foreign_report import answer, render_foreign
from studies.reporting.findings import Verdict
from studies.search_space import Params
from studies.storage import close_storage, open_read_only, open_storage
from studies.summary_schemas import published_schema
from studies.tables import ranking_table
from tests.studies.sample_campaign import make_spec, store
from tests.studies.sample_cases import done

pytestmark = pytest.mark.usefixtures("svg_only")

SCHEMA = Draft202012Validator(published_schema())
AXES: Mapping[str, BaseDistribution] = {
    "C": FloatDistribution(0.01, 100, log=True),
    "units": IntDistribution(16, 256),
    "kernel": CategoricalDistribution(("rbf", "poly", None)),
    "degree": IntDistribution(1, 5),  # of kernel "poly" only
    "value": CategoricalDistribution((True, False)),  # named like a column of ours
}
REFERENCE = ["C=1,units=64", "kernel=rbf,value=true"]
RBF = {"units": 64, "kernel": "rbf", "value": True}


def make_study(
    trials: Sequence[tuple[Params, float | None]],
    *,
    direction: str = "minimize",
    name: str = "other/svm",
    metric: str | None = "RMSE",
    states: Sequence[TrialState] = (),
    storage: BaseStorage | None = None,
) -> BaseStorage:
    """A study of some other program: parameters and value of each trial, in that program's own direction."""
    storage = storage or InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name=name, direction=direction)
    if metric is not None:
        storage.set_study_system_attr(study._study_id, "study:metric_names", [metric])
    for i, (params, value) in enumerate(trials):
        state = states[i] if states else TrialState.COMPLETE
        distributions = {key: AXES[key] for key in params}
        study.add_trial(create_trial(params=params, distributions=distributions, value=value, state=state))
    return storage


def errors_by_c(miss: Callable[[float], float], n: int = 11) -> list[tuple[Params, float]]:
    """Trials along C from 0.01 to 100, the reference (C = 1) first; `miss` is their error by log10 C."""
    places = [0.0, *(-2 + 4 * i / (n - 1) for i in range(n))]
    return [({"C": 10**x, **RBF}, miss(x)) for x in places]


MIXED = [
    ({"C": 1.0, **RBF}, 0.50),
    ({"C": 3.0, "units": 32, "kernel": "poly", "degree": 2, "value": False}, 0.30),
    ({"C": 9.0, "units": 32, "kernel": None, "value": True}, 0.75),
]


def test_less_is_better_where_the_study_says_so() -> None:
    finding = find(load_foreign(make_study(MIXED), "other/svm", REFERENCE))
    files = render_foreign(finding)
    summary = json.loads(files["summary.json"])

    SCHEMA.validate(summary)
    assert (summary["direction"], summary["metric"]) == ("minimize", "RMSE")
    assert summary["best"] == {
        "number": 1,
        "params": {"C": 3.0, "units": 32, "kernel": "poly", "value": False, "degree": 2},
        "value": 0.30,
        "runs": [1],
    }
    assert summary["reference"]["number"] == 0
    assert summary["reference"]["value"] == 0.5
    assert "has RMSE 0.3, the reference 0.5: better by 0.2." in summary["answer"]
    assert "trials are too few" in summary["answer"]


def test_the_page_says_what_a_campaigns_page_says() -> None:
    page = str(render_foreign(find(load_foreign(make_study(MIXED), "other/svm", REFERENCE)))["report.html"])
    legend = re.findall(r"<text[^>]*>([^<]*)</text>", page)

    assert "searched: C 0.01 to 100.0 (log); units 16 to 256; " in page
    assert "trial" in legend
    assert "other/svm" not in legend


def test_true_and_false_are_set_as_texts() -> None:
    study = load_foreign(make_study(MIXED), "other/svm", REFERENCE)
    table = ranking_table(study.frame, find(study).analysis)

    assert [name for i, name in enumerate(table.header) if i in table.numeric] == ["C", "units", "degree", "RMSE"]


def test_more_is_better_where_the_study_says_so() -> None:
    finding = find(load_foreign(make_study(MIXED, direction="maximize", metric=None), "other/svm", REFERENCE))

    assert finding.pair.best is not None
    assert finding.pair.best.number == 2
    assert json.loads(render_foreign(finding)["summary.json"])["metric"] == "value"


def test_the_table_has_the_trials_as_they_are_stored() -> None:
    files = render_foreign(find(load_foreign(make_study(MIXED), "other/svm", REFERENCE)))
    text = files["trials.csv"]
    assert isinstance(text, str)
    rows = list(csv.DictReader(io.StringIO(text)))

    assert [float(row["value"]) for row in rows] == [0.5, 0.3, 0.75]
    assert [row["degree"] for row in rows] == ["", "2", ""]  # conditional: not there is not 0
    assert [row["kernel"] for row in rows] == ["rbf", "poly", "None"]
    assert [row["params_value"] for row in rows] == ["True", "False", "True"]
    assert [row["is_reference"] for row in rows] == ["True", "False", "False"]


def test_nothing_is_called_an_accuracy_or_a_share() -> None:
    finding = find(load_foreign(make_study(errors_by_c(lambda x: 3 + (x - 1) ** 2)), "other/svm", REFERENCE))
    files = render_foreign(finding)
    SCHEMA.validate(json.loads(files["summary.json"]))
    for name in ("report.html", "report.md", "summary.json"):
        text = str(files[name]).replace("95 %", "")
        told = re.sub(r"<style>.*?</style>|<[^>]*>", "", text, flags=re.DOTALL)
        assert not re.search(r"accurac|\bpoints?\b|\d %|\bseeds?\b|\btest\b|validation", told), name


@pytest.mark.parametrize(
    ("miss", "margin", "verdict"),
    [
        (lambda x: 3 + (x - 1) ** 2, 0.0, Verdict.PAYS),
        (lambda x: 3 + (x - 1) ** 2, 9.0, Verdict.NOTHING_FOUND),
        (lambda x: 3 + 0.01 * math.sin(1000 * x), 0.0, Verdict.UNDECIDED),
    ],
    ids=["a valley", "a valley, but who cares", "noise"],
)
def test_verdicts(miss: Callable[[float], float], margin: float, verdict: Verdict) -> None:
    finding = find(load_foreign(make_study(errors_by_c(miss)), "other/svm", REFERENCE), margin)

    assert finding.verdict is verdict
    assert finding.gain is not None
    if verdict is Verdict.PAYS:
        assert finding.gain.low < 1.0 < finding.gain.high  # the valley is 1 lower than the reference


def test_the_answer_does_not_depend_on_units() -> None:
    trials = errors_by_c(lambda x: 3 + (x - 1) ** 2)
    small, large = (
        find(load_foreign(make_study([(params, unit * value) for params, value in trials]), "other/svm", REFERENCE))
        for unit in (1e-6, 1e6)
    )
    assert small.gain is not None
    assert large.gain is not None
    assert large.gain.mean / small.gain.mean == pytest.approx(1e12, rel=1e-3)


FAILED, PRUNED, WAITING = TrialState.FAIL, TrialState.PRUNED, TrialState.WAITING
ODD: Mapping[str, tuple[Sequence[tuple[Params, float | None]], Sequence[TrialState], str]] = {
    "no trial": ([], (), "no trials"),
    "one": (MIXED[:1], (), "Nothing was tried but the reference"),
    "two": (MIXED[:2], (), "trials are too few"),
    "all failed": ([(p, None) for p, _ in MIXED], [FAILED] * 3, "3 failed"),
    "all pruned": ([(p, None) for p, _ in MIXED], [PRUNED] * 3, "3 pruned"),
    "all waiting": ([({}, None)] * 3, [WAITING] * 3, "3 waiting"),
    "no parameters": ([({}, 1.0)] * 3, (), "no parameters"),
    "infinite": ([(MIXED[0][0], math.inf), *MIXED[1:]], (), "Without a complete reference"),
    "all alike": ([(p, 1.0) for p, _ in MIXED * FEWEST], (), "No setting better than the reference"),
}


@pytest.mark.parametrize(("trials", "states", "told"), ODD.values(), ids=ODD)
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_odd_studies_are_reported(
    trials: Sequence[tuple[Params, float | None]], states: Sequence[TrialState], told: str, direction: str
) -> None:
    sign = 1 if direction == "minimize" else -1
    turned = [(params, None if value is None else sign * value) for params, value in trials]
    storage = make_study(turned, direction=direction, states=states)
    reference = REFERENCE if any("C" in params for params, _ in trials) else []
    files = render_foreign(find(load_foreign(storage, "other/svm", reference)))
    summary = json.loads(files["summary.json"])

    SCHEMA.validate(summary)
    assert told in summary["answer"]


def test_the_same_study_gives_the_same_bytes() -> None:
    storage = make_study(MIXED)
    one, other = (render_foreign(find(load_foreign(storage, "other/svm", REFERENCE))) for _ in range(2))
    assert one == other


REFERENCES = {
    "C:1": "not KEY=VALUE",
    "C=1,": "not KEY=VALUE",
    "unit=1": 'Did you mean "units"',
    "units=many": "is no number",
    "kernel=linear": "none of the study's choices",
}


@pytest.mark.parametrize(("text", "told"), REFERENCES.items())
def test_references_that_cannot_be_meant(text: str, told: str) -> None:
    with pytest.raises(BadInput, match=re.escape(told)) as caught:
        load_foreign(make_study(MIXED), "other/svm", [text])
    assert isinstance(caught.value, UnknownName) == (text == "unit=1")


def test_a_reference_that_no_trial_is_tells_a_trial_that_comes_close() -> None:
    (params, _), *_others = MIXED
    exact = ",".join(f"{key}={value}" for key, value in params.items())
    key, *rest = (part for part in exact.split(","))
    assert rest
    with pytest.raises(BadInput, match=re.escape(f"no trial has exactly these parameters; trial 0 has {exact}.")):
        load_foreign(make_study(MIXED), "other/svm", [key])
    assert load_foreign(make_study(MIXED), "other/svm", [exact]).frame["is_reference"].iloc[0]


def test_who_names_no_reference_is_told_how() -> None:
    answered = json.loads(render_foreign(find(load_foreign(make_study(MIXED), "other/svm")))["summary.json"])["answer"]
    assert "No reference was named (--reference KEY=VALUE,...)" in answered


def test_a_choice_is_named_as_it_is_written() -> None:
    study = load_foreign(make_study(MIXED), "other/svm", ["kernel=None,value=True", "C=9,units=32"])
    assert study.reference == {"kernel": "None", "value": True, "C": 9.0, "units": 32}


def test_studies_that_are_no_subject() -> None:
    storage = make_study(MIXED)
    optuna.create_study(storage=storage, study_name="two", directions=["minimize", "maximize"])
    spec = make_spec()
    store(spec, [[done({"lr": 0.1, "alpha": 0.3, "delta_t": 100}, 0.8, 0.8)]], storage)

    with pytest.raises(BadInput, match="2 objectives"):
        load_foreign(storage, "two")
    with pytest.raises(BadInput, match=f"report {spec.name}"):
        load_foreign(storage, spec.plans()[0].name)
    with pytest.raises(NotFound, match=r"Did you mean other/svm\?"):
        load_foreign(storage, "other/svn")
    with pytest.raises(NotFound, match="There: other/svm, sample"):
        load_foreign(storage, "absent")


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["report", *arguments])


def test_a_file_is_only_read(tmp_path: Path) -> None:
    path = tmp_path / "a study & more.db"
    storage = open_storage(StorageUrl.parse(f"sqlite:///{path}"))
    make_study(MIXED, storage=storage)
    close_storage(storage)
    path.chmod(0o444)
    before, beside = hashlib.sha256(path.read_bytes()).digest(), set(tmp_path.iterdir())

    done = run("--optuna-study", "other/svm", "--storage", f"sqlite:///{path}", "--out", str(tmp_path / "report"))

    assert done.exit_code == 0, done.output
    assert "trial 1: C 3" in done.stdout
    assert hashlib.sha256(path.read_bytes()).digest() == before
    assert set(tmp_path.iterdir()) - beside == {tmp_path / "report"}


def test_a_file_may_have_any_name() -> None:
    url = engine_url(StorageUrl.parse("sqlite:////lab/\udcff.db"), read_only=True)

    assert url == "sqlite:///file:/lab/%FF.db?mode=ro&uri=true"  # a byte that is no UTF-8


def test_nothing_can_be_written_to_what_is_only_read(tmp_path: Path, postgres_url: StorageUrl) -> None:
    for url in (StorageUrl.parse(f"sqlite:///{tmp_path / 'study.db'}"), postgres_url):
        made = open_storage(url)
        make_study(MIXED, storage=made)
        close_storage(made)
        storage = open_read_only(url, patience=0)
        try:
            assert load_foreign(storage, "other/svm").minimises
            with pytest.raises(Exception, match=r"(?i)read-?only"):
                storage.set_study_user_attr(storage.get_study_id_from_name("other/svm"), "a", 1)
        finally:
            close_storage(storage)


def test_tables_are_not_created_by_looking(tmp_path: Path, empty_postgres_url: StorageUrl) -> None:
    path = tmp_path / "empty.db"
    path.touch()
    for url in (StorageUrl.parse(f"sqlite:///{path}"), empty_postgres_url):
        with pytest.raises(NotFound, match="holds no Optuna studies"):
            open_read_only(url, patience=0)
    engine = sa.create_engine(empty_postgres_url.secret())
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["sample", "--optuna-study", "other"], "report takes one of"),
        ([], "report takes one of"),
        (["sample", "--reference", "lr=1"], "--reference is for --optuna-study"),
        (["--optuna-study", "other", "--parquet"], "--parquet is for campaigns"),
        (["--from", "trials.csv", "--storage", "sqlite:///x.db"], "leave out --storage"),
        (["--from", "trials.csv", "--live"], "--live is for one campaign"),
        (["one", "other", "one"], "named twice"),
        (["one", "other", "--live"], "--live is for one campaign"),
        (["one", "--margin", "inf"], "--margin is inf; give a number of points"),
        (["one", "--live", "--json"], "leave out --json and read summary.json"),
    ],
)
def test_options_that_do_not_go_together(arguments: list[str], told: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert told in done.stderr
    assert done.stdout == ""


WIDTHS = IntDistribution(8, 128)


def constrained(limits: Sequence[Mapping[str, Any]], *, direction: str = "minimize") -> BaseStorage:
    """Trials of width 8, 9, ... with better values from one to the next; `limits` are their system attributes."""
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="latency", direction=direction)
    sign = -1 if direction == "minimize" else 1
    for i, attrs in enumerate(limits):
        params, value = {"width": 8 + i}, float(sign * i)
        trial = create_trial(params=params, distributions={"width": WIDTHS}, value=value, system_attrs=dict(attrs))
        study.add_trial(trial)
    return storage


FORMS: Mapping[str, Callable[[float], Mapping[str, Any]]] = {
    "a list": lambda limit: {"constraints": [-1.0, limit]},
    "by key": lambda limit: {"constraints:latency_ms": limit, "constraints:size": -1.0},
}


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_best_violates_no_constraint(form: Callable[[float], Mapping[str, Any]], direction: str) -> None:
    storage = constrained([form(i - 9.0) for i in range(14)], direction=direction)
    finding = find(load_foreign(storage, "latency", ["width=8"]))
    files = render_foreign(finding)
    summary = json.loads(files["summary.json"])

    SCHEMA.validate(summary)
    assert summary["best"]["number"] == optuna.load_study(study_name="latency", storage=storage).best_trial.number == 9
    assert summary["counts"]["infeasible"] == 4
    assert finding.pair.n_compared == 10
    assert finding.gain is not None
    assert "4 trials of 14 violate a constraint" in str(files["report.html"])
    assert "violates a constraint" in str(files["figures/parameters.svg"])
    assert [row["state"] for row in csv.DictReader(io.StringIO(str(files["trials.csv"])))][10:] == ["infeasible"] * 4


def test_a_study_without_a_feasible_trial_has_no_best() -> None:
    files = render_foreign(find(load_foreign(constrained([{"constraints": [1.0]}] * 3), "latency")))
    summary = json.loads(files["summary.json"])

    assert summary["best"] is None
    assert "No trial that keeps the constraints is complete with a value" in summary["answer"]


def test_a_reference_that_violates_a_constraint_is_none() -> None:
    finding = find(load_foreign(constrained([{"constraints": [1.0]}, {}, {}]), "latency", ["width=8"]))
    assert "The reference violates a constraint" in answer(finding)


def repeated(runs: Sequence[tuple[float, Sequence[float]]]) -> BaseStorage:
    """Each value of C as often as it has values, one after the other."""
    longest = max(len(values) for _, values in runs)
    return make_study([({"C": c}, values[i]) for i in range(longest) for c, values in runs if i < len(values)])


RUNS = [(1.0, [5.0, 5.2, 4.8, 5.4]), (3.0, [4.0, 4.4, 4.2, 4.6]), (9.0, [3.9, 5.9, 6.0, 6.1])]


def test_settings_that_ran_several_times_count_with_their_mean() -> None:
    finding = find(load_foreign(repeated(RUNS), "other/svm", ["C=1"]))
    files = render_foreign(finding)
    summary, page = json.loads(files["summary.json"]), str(files["report.md"])

    SCHEMA.validate(summary)
    assert (summary["reference"]["value"], summary["reference"]["runs"]) == (pytest.approx(5.1), [0, 3, 6, 9])
    assert (summary["best"]["value"], summary["best"]["runs"]) == (pytest.approx(4.3), [1, 4, 7, 10])  # not 3.9
    assert "Each setting ran once" not in page
    assert "The best of 3 settings (trials 1, 4, 7 and 1 more: C 3)" in summary["answer"]
    assert "| reference | 0, 3, 6 and 1 more | C 1 | 5.1 (mean of 4 runs) |" in page
    assert "| 6 (reference), mean of 4 runs | 1 | 5.1 |" in page


def test_the_spread_between_runs_is_the_noise_of_the_gain() -> None:
    finding = find(load_foreign(repeated(RUNS), "other/svm", ["C=1"]))
    uneven = find(load_foreign(repeated([*RUNS[:2], (9.0, [3.9] * 5)]), "other/svm", ["C=1"]))

    assert finding.gain is not None
    assert math.isfinite(finding.gain.noise)
    assert uneven.gain is not None
    assert math.isnan(uneven.gain.noise)  # each run is a look of its own, and the noise a guess among others


def test_equal_runs_have_their_value_as_mean() -> None:
    finding = find(load_foreign(repeated([(1.0, [0.1] * 3), (3.0, [0.2] * 3)]), "other/svm"))

    assert finding.pair.best is not None
    assert (finding.pair.best.number, finding.pair.best.val_accuracy.mean) == (0, -0.1)


ODD_CHOICES = (None, "None", True, "true", 1, "64,32", "x=1,C=2", [64, 32], 1e-300, 'a "quoted"', "", math.inf, 2**70)


@pytest.mark.parametrize("choice", ODD_CHOICES, ids=repr)
def test_any_choice_can_be_the_reference_as_an_error_writes_it(choice: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a list is no choice that Optuna likes
        box = CategoricalDistribution(ODD_CHOICES)
        storage = InMemoryStorage()
        study = optuna.create_study(storage=storage, study_name="odd")
        for each in ODD_CHOICES:
            distributions = {"x,y=z": box, "C": AXES["C"]}
            study.add_trial(create_trial(params={"x,y=z": each, "C": 1.0}, distributions=distributions, value=1.0))
    number = [repr(each) for each in ODD_CHOICES].index(repr(choice))
    text = written({"x,y=z": choice, "C": 1.0})

    found = load_foreign(storage, "odd", [text]).frame
    assert found.index[found["is_reference"]].to_list() == [number]
    found = load_foreign(storage, "odd", number).frame
    assert found.index[found["is_reference"]].to_list() == [number]


def test_a_reference_by_the_number_of_no_trial() -> None:
    with pytest.raises(NotFound, match="other/svm has no trial 3; it has 3, numbered from 0"):
        load_foreign(make_study(MIXED), "other/svm", 3)


def test_whole_numbers_next_to_each_other_are_two_references() -> None:
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="big")
    for n in (2**52, 2**52 + 1):
        study.add_trial(create_trial(params={"n": n}, distributions={"n": IntDistribution(0, 2**53)}, value=1.0))

    assert load_foreign(storage, "big", [f"n={2**52 + 1}"]).frame["is_reference"].to_list() == [False, True]


def test_parameters_named_like_each_others_columns_stay_apart() -> None:
    names = ("value", "params_value", "params_params_value", "state")
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="names")
    params = {name: i / 10 for i, name in enumerate(names)}
    study.add_trial(create_trial(params=params, distributions=dict.fromkeys(names, FloatDistribution(0, 1)), value=1.0))
    found = find(load_foreign(storage, "names")).pair.best

    assert found is not None
    assert found.params == params
