"""Campaigns side by side, by hand; and the page that shows them."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from jsonschema import Draft202012Validator
from optuna.storages import BaseStorage

from studies.analysis import analyse
from studies.comparing import compare, gap_of
from studies.comparison_figures import gaps_figure, reached_figure
from studies.comparison_report import answer, render_comparison
from studies.errors import BadInput
from studies.frame import Provenance, load_frame, load_provenance
from studies.reporting.findings import Setting
from studies.reporting.trials_reader import read_report
from studies.reporting.wording import in_points
from studies.summary_schemas import published_schema
from studies.tables import answer_table
from tests.studies.sample_campaign import REFERENCE, Told, make_spec, store
from tests.studies.sample_cases import OTHER

pytestmark = pytest.mark.usefixtures("svg_only")

SCHEMA = Draft202012Validator(published_schema())


def campaign(
    name: str,
    reference: tuple[float, ...],
    best: tuple[float, ...] = (),
    *,
    seeds: tuple[int, ...] = (0, 1, 2),
    sparsity: tuple[float, ...] = (0.98,),
    storage: BaseStorage | None = None,
    **fixed: object,
) -> tuple[pd.DataFrame, Provenance]:
    """A campaign whose pairs all have these test accuracies by seed, and the same on validation."""
    spec = make_spec(name, seeds=seeds, sparsity=sparsity, **fixed)
    own = [Told(params, val=test, test=test) for params, test in ((REFERENCE, reference), (OTHER, best)) if test]
    storage = store(spec, [own] * len(sparsity), storage)
    return load_frame(storage, name), load_provenance(storage, name)


def setting(*accuracies: float, first_seed: int = 0) -> Setting:
    by_seed = dict(enumerate(accuracies, start=first_seed))
    return Setting(0, {}, by_seed, by_seed, math.nan, math.nan, math.nan, math.nan)


def test_shared_seeds_are_paired() -> None:
    # Differences 1, 2 and 3 points: mean 2, standard error 1/√3, and t(2 degrees, 97.5 %) = 4.3027.
    found = gap_of(setting(0.80, 0.85, 0.90), setting(0.81, 0.87, 0.93))
    assert found is not None
    *told, by_seed = found
    assert told == pytest.approx([0.02, 0.02 - 0.043027 / math.sqrt(3), 0.02 + 0.043027 / math.sqrt(3)], abs=1e-6)
    assert by_seed == pytest.approx({0: 0.01, 1: 0.02, 2: 0.03})


def test_other_seeds_stand_for_themselves() -> None:
    # Means 0.81 and 0.84, both of variance 0.0001 and three seeds: se = 0.01·√(2/3), 4 degrees, t = 2.7764.
    found = gap_of(setting(0.80, 0.81, 0.82), setting(0.83, 0.84, 0.85, first_seed=7))
    half = 2.776445 * 0.01 * math.sqrt(2 / 3)
    assert found is not None
    *told, by_seed = found
    assert told == pytest.approx([0.03, 0.03 - half, 0.03 + half], abs=1e-6)
    assert by_seed == {}


@pytest.mark.parametrize(
    ("first", "other", "mean"),
    [
        (setting(0.8), setting(0.9), 0.1),  # one seed each
        (setting(0.8, 0.8), setting(0.9, 0.9, first_seed=5), 0.1),  # no spread in either
    ],
)
def test_what_leaves_no_interval(first: Setting, other: Setting, mean: float) -> None:
    found = gap_of(first, other)
    assert found is not None
    assert found[0] == pytest.approx(mean)
    assert found[1:] == (None, None, {})


@pytest.mark.parametrize("other", [None, setting(), setting(0.9, math.nan)])
def test_what_cannot_be_compared(other: Setting | None) -> None:
    assert gap_of(setting(0.8, 0.9), other) is None


def test_the_first_is_what_the_others_are_compared_with() -> None:
    first = campaign("first", (0.80, 0.81, 0.82))
    better = campaign("better", (0.84, 0.85, 0.861), (0.90, 0.91, 0.921), method="set")
    found = compare([first, better, campaign("elsewhere", (0.9, 0.9, 0.9), sparsity=(0.5,))])

    assert [(gap.campaign, gap.label, gap.role, gap.sign) for gap in found.gaps] == [
        ("better", "S = 0.98 ERK", "reference", 1),
        ("better", "S = 0.98 ERK", "best", 1),
    ]
    assert found.gaps[1].mean == pytest.approx(0.1 + 0.001 / 3)
    assert found.differing["fixed.method"] == ("rigl", "set", "rigl")
    assert found.differing["pairs.sparsity"] == ("0.98", "0.98", "0.5")
    assert set(found.differing) == {"fixed.method", "pairs.sparsity"}
    assert answer(found) == (
        "At S = 0.98 ERK the best of better has +10.03 points against that of first on test (95 % interval +9.89 to "
        "+10.18). elsewhere and first have no pair in common with a complete trial in both."
    )


def test_several_pairs_are_counted() -> None:
    first = campaign("first", (0.80, 0.81, 0.82), sparsity=(0.5, 0.9))
    other = campaign("other", (0.70, 0.71, 0.721), sparsity=(0.5, 0.9))
    assert (
        answer(compare([first, other])) == "Against the best of first, that of other is on test worse in 2 of 2 pairs."
    )


def test_several_outcomes_are_counted_out_of_all_pairs() -> None:
    found = compare([campaign("first", (0.80, 0.81, 0.82)), campaign("other", (0.70, 0.71, 0.721))])
    [gap] = (one for one in found.gaps if one.role == "best")
    better, alike = (replace(gap, low=low, high=0.3) for low in (0.1, -0.1))
    told = answer(replace(found, gaps=(better, alike, alike, better, alike, alike)))
    assert told == "Against the best of first, that of other is on test better in 2 of 6 pairs and not told apart in 4."


def test_the_first_figure_is_the_differences_with_their_numbers() -> None:
    first = campaign("first", (0.80, 0.81, 0.82), (0.85, 0.85, 0.85), sparsity=(0.5, 0.9))
    other = campaign("other", (0.81, 0.83, 0.85), (0.90, 0.91, 0.92), sparsity=(0.9,))
    page = render_comparison(compare([first, other, campaign("third", (0.79, 0.81, 0.82))]))
    html = str(page["report.html"])
    at = {name: html.index(f'<g id="{name}-figure_1"') for name in ("differences", "comparison")}
    [described] = re.findall(r'aria-label="Test accuracy minus that of first\. ([^"]*)"', html)

    assert at["differences"] < html.index("Differences on test") < at["comparison"]
    assert "S = 0.9 ERK, reference: other +2.00 points against first (95 % interval −0.48 to +4.48)." in described
    assert "S = 0.9 ERK, best: other +6.00 points against first" in described
    told = re.findall(r"<title>(S = 0\.9 ERK, [^<]*)</title>", html)
    assert "S = 0.9 ERK, reference: other +2.00 points against first (95 % interval −0.48 to +4.48)" in told
    assert "S = 0.5 ERK, best of first: 85.00 ± 0.00 % (η 0.05, α 0.4, ΔT 250)" in re.findall(
        r"<title>([^<]*)</title>", html
    )


def test_seeds_are_drawn_where_they_are_shared() -> None:
    found = compare([campaign("first", (0.80, 0.81, 0.82)), campaign("other", (0.81, 0.83, 0.85))])
    apart = compare([campaign("first", (0.80, 0.81), seeds=(0, 1)), campaign("other", (0.81, 0.83), seeds=(7, 8))])

    assert found.gaps[0].by_seed == pytest.approx({0: 0.01, 1: 0.02, 2: 0.03})
    assert apart.gaps[0].by_seed == {}
    for one, is_there in ((found, True), (apart, False)):
        drawing = gaps_figure(one)
        assert drawing is not None
        assert ("a seed that both trained" in drawing.svg) == is_there


def test_a_pair_without_trials_is_named_as_any_other() -> None:
    # As where somebody deleted the rows of a study from trials.csv.
    frame, provenance = campaign("first", (0.80, 0.81, 0.82), sparsity=(0.5, 0.9))
    found = compare([(frame[frame["sparsity"] == 0.5], provenance), campaign("other", (0.81, 0.82, 0.84))])
    assert [pair.label for pair in found.members[0].analysis.pairs] == ["S = 0.5 ERK", "S = 0.9 ERK"]


def test_what_has_nothing_in_common_has_no_differences_to_draw() -> None:
    elsewhere = compare([campaign("first", (0.8, 0.8, 0.8)), campaign("other", (0.9, 0.9, 0.9), sparsity=(0.5,))])
    assert gaps_figure(elsewhere) is None
    assert reached_figure(elsewhere) is not None
    assert reached_figure(compare([campaign("first", ()), campaign("other", ())])) is None


def test_a_reference_that_is_the_same_everywhere_is_named_once() -> None:
    pair = campaign("first", (0.80, 0.81, 0.82), (0.9, 0.9, 0.9), sparsity=(0.5, 0.9))
    analysis = analyse(pair[0], "first")
    table = answer_table(analysis)
    assert table.title == "Reference and best on test. The reference is η 0.1, α 0.3, ΔT 100 everywhere"
    assert "reference" not in table.header
    assert table.rows[0][1] == "81.0 ± 1.0 %"
    assert [table.header[i] for i in sorted(table.numeric)] == [
        "reference, test",
        "best, test",
        "gain in points (95 % interval)",
    ]

    one, two = analysis.pairs
    assert one.reference is not None
    other = replace(two, reference=replace(one.reference, params={"lr": 0.2}))
    assert answer_table(replace(analysis, pairs=(one, other))).rows[1][1] == "η 0.2"
    assert "reference" in answer_table(replace(analysis, pairs=(one,))).header


def test_points_are_signed_but_for_nothing() -> None:
    assert [in_points(x) for x in (0.0123, -0.0123, -0.00001)] == ["+1.23", "−1.23", "0.00"]


@pytest.mark.parametrize("best", [(), (0.9, 0.9, 0.9)], ids=["no other trial", "a better one"])
@pytest.mark.parametrize("reference", [(), (0.8, 0.81, 0.82)], ids=["no reference", "a reference"])
def test_the_page_and_its_numbers(reference: tuple[float, ...], best: tuple[float, ...], tmp_path: Path) -> None:
    found = compare([campaign("first", reference, best), campaign("other", reference, best, epochs=9)])
    files = render_comparison(found)
    summary = json.loads(files["summary.json"])

    SCHEMA.validate(summary)
    assert summary["compares"] == ["first", "other"]
    assert summary["files"] == list(files)
    assert len(summary["differences"]) == (2 if reference else 1 if best else 0)
    assert {"key": "fixed.epochs", "values": ["5", "9"]} in summary["differing"]
    page = str(files["report.md"])
    assert "The campaigns differ in epochs, which may explain differences between their accuracies." in page
    assert "How does other compare with first?" in page
    assert "| setting | points above first, test |" in page  # whose they are need not be said of two
    assert not re.search(r"<script|https?://(?!www\.w3\.org)", str(files["report.html"]))
    assert '<table class="facts">\n<caption>Where the numbers come from' in str(files["report.html"])
    assert files == render_comparison(found)

    (tmp_path / "summary.json").write_text(str(files["summary.json"]))
    (tmp_path / "trials.csv").write_text(str(files["trials.csv"]))
    with pytest.raises(BadInput, match=r"not the summary\.json of a campaign's report"):
        read_report(tmp_path)
