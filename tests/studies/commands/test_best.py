"""`rigl-study best`: what it prints trains the same network as the trial it comes from."""

import json
import logging
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import workers.single
from rigl_core.config import TrainConfig
from studies.cli import app
from studies.database.storage_url import StorageUrl
from studies.spec import StudySpec
from studies.spec_file import load_spec
from studies.storage import close_storage, open_storage
from tests.studies.sample_campaign import REFERENCE, Told, make_spec, store
from tests.studies.sample_cases import CASES, OTHER, done

TWO_PAIRS = make_spec(
    sparsity=(0.9, 0.98), weight_decay=1e-4, model_options={"dropout": 0.2}, model="wrn_22_2", dataset="cifar10"
)
TEXT = CASES["text"]().spec
LOTTERY = CASES["lottery"]().spec
RECIPE = StudySpec.model_validate(
    {
        "name": "r" * 80,
        "fixed": {"recipe": "cifar10", "model": "wrn_22_2", "dataset": "cifar10", "nesterov": False},
        "search": {"momentum": [0.8, 0.9], "anneal": ["cosine", "linear"]},
        "strategy": {"sampler": "grid", "seeds": [7]},
    }
)
CAMPAIGNS = {
    "two pairs": (TWO_PAIRS, [[done(REFERENCE, 0.8, 0.8), done(OTHER, 0.82, 0.81)], [done(REFERENCE, 0.7, 0.7)]]),
    "text": (TEXT, CASES["text"]().trials),
    "masks of another run": (LOTTERY, CASES["lottery"]().trials),
    "recipe": (RECIPE, [[Told({"momentum": 0.8, "anneal": "linear"}, val=(0.5,), test=(0.5,), seeds=(7,))]]),
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, sqlite_url: StorageUrl, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RIGL_STUDY_STORAGE", str(sqlite_url))
    handlers = logging.getLogger("rigl_study").handlers
    yield
    logging.getLogger("rigl_study").handlers = handlers


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments)


def succeed(*arguments: str) -> str:
    finished = invoke(*arguments)
    assert finished.exit_code == 0, finished.output
    return str(finished.stdout)


@pytest.fixture(params=CAMPAIGNS)
def campaign(request: pytest.FixtureRequest) -> StudySpec:
    spec, trials = CAMPAIGNS[request.param]
    database = open_storage(StorageUrl.parse("sqlite:///study.db"))
    store(spec, trials, database)
    close_storage(database)
    return spec


def trained(spec: StudySpec, told: dict[str, Any]) -> TrainConfig:
    """The configuration that the trial was trained with."""
    plan = next(plan for plan in spec.plans() if plan.name == told["study"])
    return plan.config({key: told["settings"][key] for key in spec.search})


def test_a_command_trains_the_same(campaign: StudySpec, monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[TrainConfig] = []

    class Enough(Exception):
        pass

    def take(config: TrainConfig, **_: Any) -> None:
        configs.append(config)
        raise Enough

    monkeypatch.setattr(workers.single, "train_once", take)
    told = json.loads(succeed("best", campaign.name, "--format", "json"))
    for line in succeed("best", campaign.name, "--format", "command").splitlines():
        words = shlex.split(line)
        assert words[:2] == ["rigl-study", "train"]
        invoke(*words[1:])

    assert configs == [trained(campaign, each) for each in told]


def test_a_study_file_trains_the_same(campaign: StudySpec) -> None:
    for each in json.loads(succeed("best", campaign.name, "--format", "json")):
        pair = each["study"].partition("/")[2]
        Path("best.toml").write_text(succeed("best", campaign.name, "--pair", pair))
        spec = load_spec("best.toml")
        if spec.pending:  # to be looked up again, where that other run is stored
            assert (spec.pending[0], str(spec.pending[1])) == ("masks", campaign.fixed["masks"])
            continue
        (plan,) = spec.plans()

        assert plan.tickets() == [{}]
        assert plan.base_config == trained(campaign, each)
        assert succeed("create", "best.toml", "--storage", f"sqlite:///{pair}.db") == f"{plan.spec.name}\n"


@pytest.fixture
def two_pairs() -> None:
    database = open_storage(StorageUrl.parse("sqlite:///study.db"))
    store(*CAMPAIGNS["two pairs"], database)
    close_storage(database)


@pytest.mark.usefixtures("two_pairs")
def test_it_says_what_tuning_was_worth() -> None:
    finished = invoke("best", "sample", "--format", "command")

    assert len(finished.stdout.splitlines()) == 2
    assert "--lr 0.05 --alpha 0.4 --delta-t 250 --epochs 5 --seeds 0,1" in finished.stdout.splitlines()[0]
    assert "sample/rigl-s0.9-erk#1: validation 82.0 ± 0.1 %" in finished.stderr
    assert "sample/rigl-s0.98-erk#0: " in finished.stderr
    assert "Nothing to compare: only the reference is complete." in finished.stderr


@pytest.mark.usefixtures("two_pairs")
def test_json_tells_where_it_comes_from() -> None:
    first, second = json.loads(succeed("best", "sample", "--format", "json"))

    assert (first["study"], first["trial"], first["is_reference"]) == ("sample/rigl-s0.9-erk", 1, False)
    assert first["settings"] == {**TWO_PAIRS.fixed, "sparsity": 0.9, "distribution": "erk", **OTHER}
    assert first["test_accuracy"] == {"0": 0.808, "1": 0.812}
    assert (second["trial"], second["is_reference"], second["verdict"]) == (0, True, "only_reference")


def test_json_has_null_for_what_is_not_a_number() -> None:
    case = CASES["not_a_number"]()
    database = open_storage(StorageUrl.parse("sqlite:///study.db"))
    store(case.spec, case.trials, database)
    close_storage(database)
    (told,) = json.loads(succeed("best", "sample", "--format", "json"), parse_constant=pytest.fail)

    assert told["test_accuracy"] == {"0": None, "1": 0.8}


@pytest.mark.usefixtures("two_pairs")
def test_a_pair_may_be_named_with_its_campaign() -> None:
    alone, whole = (succeed("best", "sample", "--pair", name) for name in ("rigl-s0.9-erk", "sample/rigl-s0.9-erk"))
    assert alone == whole


@pytest.mark.usefixtures("two_pairs")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "holds one setting, and there are 2; choose with --pair: rigl-s0.9-erk, rigl-s0.98-erk"),
        (["--pair", "rigl-s0.9-er"], 'Did you mean "rigl-s0.9-erk"'),
        (["--format", "yaml"], "Known: toml, json, command"),
    ],
)
def test_what_cannot_be_printed_is_refused(arguments: list[str], told: str) -> None:
    finished = invoke("best", "sample", *arguments)

    assert (finished.exit_code, finished.stdout, finished.stderr.count("\n")) == (2, "", 1)
    assert told in finished.stderr


def test_before_a_trial_has_finished_there_is_no_best() -> None:
    case = CASES["all_waiting"]()
    database = open_storage(StorageUrl.parse("sqlite:///study.db"))
    store(case.spec, case.trials, database)
    close_storage(database)
    finished = invoke("best", "sample")

    assert finished.exit_code == 2
    assert "no trial of sample is complete" in finished.stderr
