import datetime
import math
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rigl_core.config import TrainConfig
from studies.catalogue import catalogue_entries, catalogue_names, catalogue_text
from studies.errors import BadInput, SpecError, UnknownName
from studies.search_space import Choice, Range
from studies.spec_file import MAX_BYTES, load_spec, read_document, validate

ENTRY = "fashion-lenet-smoke"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(catalogue_text(ENTRY))
    return path


def test_a_path_and_a_catalogue_name_mean_the_same_study(file: Path) -> None:
    assert load_spec(str(file)) == load_spec(ENTRY)


def test_a_file_is_recognised_by_its_existence_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").write_text(catalogue_text(ENTRY))

    assert load_spec("mine") == load_spec(ENTRY)


def test_a_byte_order_mark_is_no_obstacle(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())

    assert load_spec(str(file)) == load_spec(ENTRY)


def test_the_name_can_be_changed() -> None:
    assert load_spec(ENTRY, name="mine").name == "mine"
    assert load_spec(ENTRY, ["name=mine"]).plans()[0].name == "mine/rigl-s0.9-uniform_all"


@pytest.mark.parametrize(
    ("override", "where", "value"),
    [
        ("fixed.epochs=3", "fixed.epochs", 3),
        ("fixed.method=set", "fixed.method", "set"),
        ('fixed.method="set"', "fixed.method", "set"),
        ("fixed.lr_drop_factor=1e-1", "fixed.lr_drop_factor", 0.1),
        ("fixed.nesterov=false", "fixed.nesterov", False),
        ("strategy.n_trials=5", "strategy.n_trials", 5),
        (" strategy.seed = 7 ", "strategy.seed", 7),
        ("pairs.sparsity=[0.5]", "pairs.sparsity", (0.5,)),
        ("pairs.sparsity=0.5", "pairs.sparsity", (0.5,)),
        ("pairs.distribution=random", "pairs.distribution", ("random",)),
        ("search.lr.low=0.05", "search.lr", Range(low=0.05, high=0.3, log=True)),
        ("search.lr=[0.1, 0.2]", "search.lr", Choice(values=(0.1, 0.2))),
        ("strategy.pruner={name='asha', reduction_factor=4}", "strategy.pruner.options", {"reduction_factor": 4}),
        ("description=a = b", "description", "a = b"),
        ("description=2024-05-01", "description", "2024-05-01"),
    ],
)
def test_set(override: str, where: str, value: object) -> None:
    found: Any = load_spec(ENTRY, [override])
    for key in where.split("."):
        found = found[key] if isinstance(found, dict) else getattr(found, key)

    assert found == value


def test_later_overrides_win() -> None:
    assert load_spec(ENTRY, ["strategy.n_trials=5", "strategy.n_trials=4"]).strategy.n_trials == 4


def test_set_makes_tables_that_are_not_there() -> None:
    overrides = ["fixed.model=wrn", "fixed.model_options.width=2", "fixed.model_options.depth=10"]

    assert load_spec(ENTRY, overrides).fixed["model_options"] == {"width": 2, "depth": 10}


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("strategy.n_trials", "not KEY=VALUE"),
        ("=5", "not KEY=VALUE"),
        ("strategy..n_trials=5", "not KEY=VALUE"),
        ("strategy n_trials=5", "not KEY=VALUE"),
        ("strategy.n_trials=", "no value"),
        ("pairs.sparsity=[0.9", "not valid TOML"),
        ('fixed.method="set', "not valid TOML"),
        ("fixed.method=set\nx", "more than one line"),
        ("name.first=x", "name is 'fashion-lenet-smoke' and holds no first"),
        ("fixed.epoch=3", 'Did you mean "epochs"?'),
        ("epochs=3", 'unknown key "epochs" outside a section. Write it below [fixed], or to vary it below [search]'),
        ("strategy.epochs=3", 'unknown key in [strategy] "epochs". Write it below [fixed]'),
        ("n_trials=3", 'unknown key "n_trials" outside a section. Write it below [strategy], as strategy.n_trials'),
        ("fixed.sampler=tpe", 'unknown key in [fixed] "sampler". Write it below [strategy]'),
        ("sparsity=0.9", "Write it below [fixed] or [pairs], as fixed.sparsity or pairs.sparsity with --set"),
        ("strategy.description=x", 'unknown key in [strategy] "description". Write it above the first section.'),
        ("strategy.reduction_factor=3", 'Write it as in pruner = { name = "asha", reduction_factor = ... }'),
        ("fixed.dropout=0.3", "Write it as in model_options = { dropout = ... } below [fixed]"),
        ("fixed.learning_rate=0.1", 'unknown key in [fixed] "learning_rate". Here it is called lr.'),
        (
            "fixed.momentum=[0.8, 0.9]",
            "fixed.momentum = [0.8, 0.9]: it has one value for every run; write it below [search]",
        ),
        ("fixed.momentum.low=0.8", "write it below [search] to vary it"),
        ("fixed.method=['set', 'rigl']", "write it below [search] to vary it"),
        ("fixed.sparsity=[0.9]", "write it below [pairs] to vary it"),
        ("fixed.model_options=[1]", "model_options = [1]: it must be a table"),
        ("fixed.seeds=[0]", "set strategy.seeds"),
        ("strategy.seeds=0,1,2", "a list has brackets around it; write [0,1,2]."),
        ("pairs.sparsity=0.9, 1e-1", "write [0.9, 1e-1]."),
        ("fixed.dataset=CIFAR-10", 'Did you mean "cifar10"?'),
        ("strategy.sampler=TPE", 'Did you mean "tpe"?'),
        ("strategy.n_trial=3", 'Did you mean "n_trials"?'),
        ("pairs.sparsities=[0.9]", 'Did you mean "sparsity"?'),
        ("search.lr.hi=1", 'Did you mean "high"?'),
        ("search.lr=0.1", "neither a range nor a list"),
        ("search.lr.low=0.5", "search.lr: low = 0.5 must be below high = 0.3"),
        ("search.alpha.high=inf", "search.alpha"),
        ("pairs=0.9", "pairs = 0.9"),
        ("fixed=0", "fixed = 0"),
        ("strategy.sampler=tpee", 'Did you mean "tpe"?'),
        ("strategy.pruner=medan", 'Did you mean "median"?'),
        ("strategy.pruner={name='median', patience=3}", "patience"),
        ("fixed.method=rigk", 'Did you mean "rigl"?'),
        ("pairs.distribution=ekr", 'unknown distribution "ekr". Did you mean "erk"? Known: uniform, uniform_all,'),
        ("pairs.sparsity=1", "sparsity = 1.0"),
        ("pairs.sparsity=nan", "sparsity = nan"),
        ("search.lr.high=" + "9" * 400, "too large"),
        ("name=" + "x" * 81, "at most 80 characters"),
        ("name=../x", "letters, digits"),
        ("description=\ud800", "cannot be stored"),
    ],
)
def test_a_slip_in_set_is_one_line_that_says_what_to_do(override: str, told: str) -> None:
    with pytest.raises(BadInput) as caught:
        load_spec(ENTRY, [override])

    message = str(caught.value)
    assert told in message
    assert len(message.splitlines()) == 1 or "\n" in override
    assert ENTRY in message or "--set" in message


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "name"),
        (b"name = ", "at end of document"),
        (b"name = 'a'\nname = 'b'\n", "line 2"),
        (b"name = 'x'\n[fixed\nepochs = 1\n", "line 2"),
        (b"\xff\xfe", "not UTF-8 text (byte 1 is 0xff)"),
        (b"x = 1\n" * (MAX_BYTES // 5), "larger than"),
        (b"x = " + b"[" * 50_000, "nested too deeply"),
        (b"x = " + b"9" * 10_000, "not valid TOML"),
        (b"\x00", "not valid TOML"),
    ],
    ids=["empty", "no value", "twice", "bracket", "bytes", "big", "deep", "digits", "null"],
)
def test_a_file_that_is_no_study_is_refused_in_one_line(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)

    with pytest.raises(SpecError) as caught:
        load_spec(str(path))

    assert told in str(caught.value)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 1000


def test_a_source_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "closed.toml", 0)
    sources = {
        str(tmp_path): "is a directory",
        str(tmp_path / "missing.toml"): "there is no such file",
        str(tmp_path / "missing" / "study"): "there is no such file",
        "nul\0.toml": "cannot be read",
        "x" * 5000 + ".toml": "cannot be read",
    }
    for source, told in sources.items():
        with pytest.raises(SpecError, match=told):
            load_spec(source)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match='Did you mean "fashion-lenet-smoke"'):
        load_spec("fashion-lenet-smok")


@pytest.mark.parametrize("name", catalogue_names())
def test_catalogue_entries_are_named_as_their_files_and_described(name: str) -> None:
    spec = load_spec(name)

    assert spec.name == name
    assert spec.description


def test_catalogue_entries_are_sized() -> None:
    sizes = {entry.name: (entry.tickets, entry.runs) for entry in catalogue_entries()}

    assert set(sizes) == set(catalogue_names())
    assert sizes["fashion-lenet-smoke"] == (8, 16)
    assert sizes["fashion-rigl-vs-static"] == (2, 6)


def test_gpu_hours_are_those_of_measured_runs() -> None:
    hours = {entry.name: entry.gpu_hours for entry in catalogue_entries()}

    # 12 trials of 3 seeds at 231 s; twice 32 of those; 8 at 2 and 8 at 3 times 899 s.
    assert hours["cifar10-wrn-baselines"] == pytest.approx(12 * 3 * 231 / 3600, abs=0.05)
    assert hours["cifar10-wrn-methods-2x"] == pytest.approx(2 * 32 * 3 * 231 / 3600, abs=0.05)
    assert hours["cifar100-resnet50-rigl-longer"] == pytest.approx((8 * 2 + 8 * 3) * 3 * 899 / 3600, abs=0.05)
    assert {name for name, known in hours.items() if known is None} == {n for n in hours if n.startswith("fashion-")}


def test_what_is_no_study_is_not_in_the_catalogue() -> None:
    with pytest.raises(UnknownName):
        read_document("published")


EVERYTHING = """
name = "x"
[fixed]
dataset = "synthetic"
dataset_options = { height = 8, width = 8 }
model = "wrn"
model_options = { depth = 10, width = 1 }
epochs = 2
[pairs]
sparsity = [0.9]
distribution = ["erk"]
[search]
lr = { low = 0.01, high = 0.3, log = true }
delta_t = { low = 50, high = 100, step = 50 }
anneal = ["cosine", "constant"]
[strategy]
n_trials = 3
seeds = [0, 1]
pruner = { name = "asha", reduction_factor = 3 }
reference = { lr = 0.1, delta_t = 100, anneal = "cosine" }
"""
ODD = st.sampled_from(
    [
        True, 0, -1, 1.5, 1e308, math.nan, math.inf, 10**30, 10**400, "", "0.1", "from:", "from:a#1", "\ud800", b"x",
        [], {}, [[]], [{}], ["a", "a"], [1, True], [math.nan, math.nan], datetime.date(2026, 1, 1), {"name": 3},
        {"options": 3}, {"name": ["x"]}, {"values": 3}, {"values": []}, {"low": 1}, {"low": 1, "high": "x"},
        {"low": -1e308, "high": 1e308}, {"low": 0, "high": 1, "step": 1e-300}, {"low": 5e-324, "high": 1, "log": True},
    ]
)  # fmt: skip


@settings(max_examples=300)
@given(data=st.data())
def test_whatever_is_written_anywhere_the_complaint_is_a_line_for_people(data: st.DataObject) -> None:
    document = table = tomllib.loads(EVERYTHING)
    while True:
        settings_there_are = TrainConfig.model_fields if table in (document["fixed"], document["search"]) else ()
        key = data.draw(st.sampled_from([*table, "typo", *settings_there_are]))
        if not isinstance(table.get(key), dict) or data.draw(st.integers(0, 3)) == 0:
            break
        table = table[key]
    table[key] = data.draw(ODD)
    complaint = ""
    try:
        validate(document, "study.toml")
    except BadInput as error:  # and nothing else is raised
        complaint = str(error)
    assert len(complaint.splitlines()) <= 1
