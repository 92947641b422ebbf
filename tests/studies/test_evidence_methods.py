"""Methods side by side: settings chosen on validation, differences paired by seed, and tests corrected by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rigl_core.methods
from studies.evidence import methods, methods_first
from studies.evidence.arms import arms_of, rank
from studies.evidence.holm import holm
from studies.evidence.method_looks import look, looks_of
from studies.evidence.methods_compared import compare_methods
from studies.reporting.result_words import headline
from studies.reporting.section import Section, Text
from studies.reporting.svg import Drawing
from studies.tables import Table
from tests.studies.evidence_of import evidence_of
from tests.studies.sample_campaign import Told, make_spec
from tests.studies.sample_cases import CASES, load

METHODS = {"method": ["static", "set", "rigl"]}


def test_holm_by_hand() -> None:
    # Sorted: 0.005 × 4, 0.01 × 3, 0.03 × 2, and 0.04 × 1, which may not come out below the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_lies_between_the_p_values_and_bonferroni_and_keeps_their_order(p_values: list[float]) -> None:
    corrected = holm(p_values)

    for p, c in zip(p_values, corrected, strict=True):
        assert p <= c <= min(1.0, len(p_values) * p) + 1e-12
    ranked = sorted(range(len(p_values)), key=lambda i: p_values[i])
    assert [corrected[i] for i in ranked] == sorted(corrected)


def test_every_method_has_a_shape_of_its_own() -> None:
    assert len({look(method).marker for method in rigl_core.methods.METHODS}) == len(rigl_core.methods.METHODS)


def told(method: str, test: tuple[float, ...], val: float = 0.8, **more: object) -> Told:
    seeds = tuple(range(len(test))) or None
    return Told({"method": method, **more}, val=(val,) * len(test), test=test, curve=(val,), seeds=seeds)


def test_a_comparison_by_hand() -> None:
    spec = make_spec(search=METHODS, sampler="grid", seeds=(0, 1, 2))
    trials = [told("static", (0.80, 0.80, 0.80), 0.7), told("rigl", (0.81, 0.82, 0.83), 0.9)]
    (at,) = compare_methods(load(spec, [trials])[0], spec)
    (comparison,) = at.comparisons

    assert [arm.name for arm in at.arms] == ["rigl", "static"]  # by validation
    assert comparison.difference.mean == pytest.approx(0.02)
    # t = 0.02 / (0.01 / √3) = √12 with 2 degrees of freedom, where P(|T| > t) = 1 − t / √(2 + t²).
    assert comparison.p == pytest.approx(1 - math.sqrt(12 / 14))
    assert comparison.corrected == comparison.p


def test_all_comparisons_of_a_campaign_are_one_family() -> None:
    spec = make_spec(search=METHODS, sampler="grid", seeds=(0, 1, 2), sparsity=(0.9, 0.98))
    trials = [told("static", (0.80, 0.80, 0.80)), told("rigl", (0.81, 0.82, 0.83))]
    found = compare_methods(load(spec, [trials, trials])[0], spec)

    assert [at.place for at in found] == ["S = 0.9 ERK", "S = 0.98 ERK"]
    for at in found:
        assert at.comparisons[0].corrected == pytest.approx(2 * (1 - math.sqrt(12 / 14)))


def test_each_methods_setting_is_chosen_on_validation_and_never_on_test() -> None:
    spec = make_spec(search={**METHODS, "lr": [0.1, 0.2]}, sampler="grid", seeds=(0, 1))
    lucky = told("rigl", (0.99, 0.98), 0.80, lr=0.1)
    chosen = told("rigl", (0.85, 0.84), 0.81, lr=0.2)
    (arm,) = arms_of(load(spec, [[lucky, chosen]])[0], spec)

    assert (arm.trained.number, arm.n_compared) == (1, 2)


@pytest.mark.parametrize(("n_settings", "warns"), [(2, False), (6, True)])
def test_the_best_of_many_more_settings_is_said_to_be_luckier(n_settings: int, warns: bool) -> None:
    rates = [0.1 + 0.01 * i for i in range(n_settings)]
    spec = make_spec(search={**METHODS, "lr": rates}, sampler="grid", seeds=(0, 1))
    searched = [told("rigl", (0.85, 0.84), 0.8 + lr / 100, lr=lr) for lr in rates]
    evidence = evidence_of(spec, [[told("static", (0.83, 0.80), lr=0.1), *searched]])
    section = methods.section(evidence)

    assert section is not None
    notes = [
        block.text for block in (*section.blocks, *methods_first.first_screen(evidence)) if isinstance(block, Text)
    ]
    assert len(notes) == 2
    assert all(("the p-value of such a comparison is multiplied" in note) is warns for note in notes)


def test_a_p_value_is_multiplied_where_one_method_had_many_more_settings_to_choose_from() -> None:
    # The paired t-test by hand, as above, has 1 − √(12/14) for differences of 1, 2 and 3 points; six settings against
    # one multiply it by six.
    rates = [0.1 + 0.01 * i for i in range(6)]
    spec = make_spec(search={**METHODS, "lr": rates}, sampler="grid", seeds=(0, 1, 2))
    searched = [told("rigl", (0.81, 0.82, 0.83), 0.7 + lr / 100, lr=lr) for lr in rates]
    trials = [told("static", (0.8, 0.8, 0.8), lr=0.1), *searched]
    (at,) = compare_methods(load(spec, [trials])[0], spec)
    (comparison,) = at.comparisons

    assert comparison.p == pytest.approx(6 * (1 - math.sqrt(12 / 14)))


def test_longer_training_is_another_method() -> None:
    spec = make_spec(search={"train_multiplier": [1.0, 2.0]}, sampler="grid")
    trials = [Told({"train_multiplier": k}, val=(0.8, 0.8), test=(0.8, 0.79 + k / 100)) for k in (1.0, 2.0)]
    evidence = evidence_of(spec, [trials])

    assert [arm.name for arm in arms_of(evidence.frame, spec)] == ["rigl", "rigl 2×"]
    assert methods.section(evidence) is not None


def test_a_method_that_is_trained_longer_is_drawn_as_itself_with_another_line() -> None:
    search = {"method": ["set", "rigl"], "train_multiplier": [1.0, 2.0, 3.0]}
    spec = make_spec(search=search, sampler="grid")
    every = [(method, k) for method in ("set", "rigl") for k in (3.0, 1.0, 2.0)]
    trials = [told(method, (0.8, 0.8), train_multiplier=k) for method, k in every]
    looks = looks_of({arm.name: arm.method for arm in sorted(arms_of(load(spec, [trials])[0], spec), key=rank)})

    assert list(looks) == ["set", "set 2×", "set 3×", "rigl", "rigl 2×", "rigl 3×"]
    for method in ("set", "rigl"):
        assert looks[method] == look(method)
        own = [drawn for name, drawn in looks.items() if name.partition(" ")[0] == method]
        assert len({(drawn.colour, drawn.marker) for drawn in own}) == 1
        assert len({drawn.line for drawn in own}) == 3


@pytest.mark.parametrize(
    ("trials", "says"),
    {
        "none": ([], "no method has a complete trial"),
        "one": ([told("rigl", (0.8, 0.8))], "Only RigL is complete"),
        "one seed": ([told("rigl", (0.8,)), told("set", (0.7,))], "with one seed there is no test"),
        "the same on every seed": ([told("rigl", (0.8, 0.9)), told("set", (0.7, 0.8))], "every seed gives the same"),
        "no test": ([told("rigl", ()), told("set", ())], "no two methods have test accuracies"),
        "not a number": ([told("rigl", (math.nan, 0.8)), told("set", (0.7, 0.7))], "no two methods have test accurac"),
        "chance": (
            [told("rigl", (0.80, 0.82)), told("set", (0.81, 0.80))],
            "Of 1 difference between methods, none is more",
        ),
    }.values(),
)
def test_what_cannot_be_said_is_said(trials: list[Told], says: str) -> None:
    spec = make_spec(search=METHODS, sampler="grid", seeds=(0, 1))
    evidence = evidence_of(spec, [trials])
    section = methods.section(evidence)

    assert section is not None
    assert says in (methods_first.answer(evidence) or first_text(section))


def test_the_finding_names_the_surest_differences_the_better_method_first() -> None:
    spec = make_spec(search=METHODS, sampler="grid", seeds=(0, 1, 2))
    trials = [told("set", (0.9, 0.9101, 0.92)), told("static", (0.8, 0.81, 0.8201))]
    said = methods_first.answer(evidence_of(spec, [trials]))

    assert said is not None
    assert "SET above static at S = 0.98 ERK by +10.00 ± 0.01 points" in said


def test_a_method_that_learned_nothing_is_named_last() -> None:
    # The broken one is surer to differ than any other, and from both: it must not push the question aside.
    methods_ = {**METHODS, "method": ["static", "set", "rigl", "snfs", "rigl_sg"]}
    spec = make_spec(
        search=methods_, sampler="grid", seeds=(0, 1, 2), reference={"method": "static"}, sparsity=(0.9, 0.98)
    )
    sound = [
        told("static", (0.800, 0.810, 0.820)),
        told("rigl", (0.830, 0.8401, 0.850)),
        told("set", (0.8100, 0.8201, 0.8303)),
    ]
    broken = [told("snfs", (0.10, 0.1001, 0.10), 0.1), told("rigl_sg", (0.11, 0.11, 0.1101), 0.14)]
    learned = [told("snfs", (0.6, 0.9, 0.8)), told("rigl_sg", (0.10, 0.10, 0.1001), 0.12)]
    said = methods_first.answer(evidence_of(spec, [sound + broken, sound + learned]))

    assert said is not None
    assert "explains: RigL above static at both sparsities and distributions by +3.00" in said
    first_three = said.partition(" more.")[0]
    assert "rigl_sg" not in first_three
    assert said.endswith("more. No better than guessing, so trained in vain: RigL-SG; SNFS at S = 0.9 ERK.")


@pytest.mark.parametrize(
    ("fixed", "learned_nothing"),
    [
        ({"dataset": "digits"}, True),  # ten classes: up to 14.5 %
        ({"dataset": "cifar100"}, False),  # 1.5 %
        ({"dataset": "synthetic", "dataset_options": {"num_classes": 2}}, True),
        ({"dataset": "synthetic_text", "model": "char_gru"}, False),  # not known of text
    ],
    ids=str,
)
def test_what_counts_as_guessing(fixed: dict[str, object], learned_nothing: bool) -> None:
    spec = make_spec(search=METHODS, sampler="grid", **fixed)
    arms = arms_of(load(spec, [[told("set", (0.8, 0.8), 0.14)]])[0], spec)
    assert [arm.learned_nothing for arm in arms] == [learned_nothing]


def test_what_is_sure_in_several_places_is_said_once() -> None:
    spec = make_spec(search=METHODS, sampler="grid", seeds=(0, 1, 2), sparsity=(0.8, 0.9, 0.98))
    clear = [told("set", (0.9, 0.9101, 0.92)), told("static", (0.8, 0.81, 0.8201))]
    wider = [told("set", (0.9, 0.9101, 0.92)), told("static", (0.7, 0.71, 0.7201))]
    unclear = [told("set", (0.9, 0.7, 0.92)), told("static", (0.8, 0.81, 0.82))]
    everywhere, somewhere = (
        methods_first.answer(evidence_of(spec, trials)) for trials in ([clear, wider, wider], [clear, wider, unclear])
    )

    said = "3 are more than chance explains: SET above static at all 3 sparsities and distributions by +10.00 to +20.00"
    assert everywhere is not None
    assert said in everywhere
    assert somewhere is not None
    assert "SET above static at 2 of 3 sparsities and distributions by +10.00 to +20.00 points (p ≤ " in somewhere


def test_the_first_screen_holds_methods_against_the_reference_and_below_the_dense_network() -> None:
    # Above static by 1.0 ± 0.1 and 15.0 ± 0.1 points over three seeds: t = 10 · √3 with 2 degrees of freedom has
    # p = 0.0033, which Holm's correction doubles, and the other less. From dense to rigl every seed has the same.
    three = {**METHODS, "method": ["dense", "static", "rigl"]}
    spec = make_spec(search=three, reference={"method": "static"}, sampler="grid", seeds=(0, 1, 2))
    trials = [
        told("dense", (0.949, 0.960, 0.971), 0.99),
        told("static", (0.80, 0.81, 0.82)),
        told("rigl", (0.809, 0.820, 0.831), 0.9),
    ]
    evidence = evidence_of(spec, [trials])
    table, note, drawing = methods_first.first_screen(evidence)
    section = methods.section(evidence)

    assert isinstance(table, Table)
    assert table.header == ("method", "S = 0.98 ERK")
    assert table.rows == (
        ("dense", "96.0 ± 1.1*"),
        ("static (reference)", "81.0 ± 1.0"),
        ("RigL", "82.0 ± 1.1*"),
    )
    assert isinstance(note, Text)
    assert "dense network is no choice" in note.text
    assert isinstance(drawing, Drawing)
    assert "broken line" in drawing.caption
    assert section is not None
    assert not section.drawings
    answer = methods_first.answer(evidence)
    assert answer is not None
    assert answer.index("RigL above static") < answer.index("dense above")


def test_a_search_of_settings_does_not_begin_with_methods() -> None:
    evidence = evidence_of(make_spec(), [[Told(val=(0.8, 0.8), test=(0.8, 0.8))]])

    assert methods_first.answer(evidence) is None
    assert methods_first.first_screen(evidence) == ()


def test_campaigns_of_one_method_have_no_such_section() -> None:
    frame, provenance = CASES["whole"]().load()
    spec = provenance.spec

    assert methods.section(evidence_of(spec, CASES["whole"]().trials)) is None
    assert len(compare_methods(frame, spec)) == 4


def first_text(section: Section) -> str:
    return next(block.text for block in section.blocks if isinstance(block, Text))


def test_a_line_of_methods_calls_none_the_best_setting() -> None:
    trials = [told("rigl", (0.80, 0.82)), told("set", (0.81, 0.84))]
    line = headline(evidence_of(make_spec(search=METHODS, sampler="grid", seeds=(0, 1)), [trials]).analysis)

    assert line == "S = 0.98 ERK: highest of 2 on validation (method RigL) 81.0 ± 1.4 % test"
