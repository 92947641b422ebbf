"""Figures are the same bytes each time, say their numbers in words, and have a mark for every trial."""

import importlib.resources
import io
import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from studies.analysis import analyse
from studies.errors import UnknownName
from studies.figures import comparison, what_is_drawn
from studies.report import FORM, make_sections
from studies.reporting import marks, trial_figures
from studies.reporting.figure_style import STYLES, drawn_in
from studies.reporting.parameter_axis import ParameterAxis
from studies.reporting.section import Evidence
from studies.reporting.svg import MAX_PIXELS, THEME, WIDTH, Drawing, finish, house_style, inline, panels
from studies.reporting.trial_figures import MAX_CURVES, curves, parameters
from studies.search_space import Axis, Choice, Range
from tests.studies.sample_campaign import REFERENCE, Told, make_spec, realistic
from tests.studies.sample_cases import CASES, OTHER, done, load

SVG = "{http://www.w3.org/2000/svg}"
CSS = importlib.resources.files("studies") / "templates" / "report.css"


def drawn(case: str, style: str = FORM.style) -> dict[str, Drawing]:
    frame, provenance = CASES[case]().load()
    analysis = analyse(frame, provenance.campaign)
    sections = make_sections(Evidence(frame, analysis, provenance), style)
    with drawn_in(style):
        first = comparison(analysis)
    drawings = [first, *(drawing for section in sections for drawing in section.drawings)]
    return {drawing.name: drawing for drawing in drawings if drawing is not None}


def compared() -> Drawing:
    """The first figure of the case "two_complete"."""
    frame, provenance = CASES["two_complete"]().load()
    drawing = comparison(analyse(frame, provenance.campaign))
    assert drawing is not None
    return drawing


def hover_texts(drawing: Drawing) -> list[str]:
    root = ET.fromstring(drawing.svg)
    return [title.text or "" for title in root.iter(f"{SVG}title")][1:]  # the first is the figure's own


@pytest.mark.parametrize("style", STYLES)
def test_every_file_of_a_figure_is_repeatable_and_has_no_date_in_it(style: str) -> None:
    first, second = drawn("one_parameter", style), drawn("one_parameter", style)

    for name, drawing in first.items():
        assert drawing.files == second[name].files
        assert set(drawing.files) == {f"{name}.svg", *(f"{name}.{suffix}" for suffix in STYLES[style].files)}
        for content in drawing.images.values():
            assert not re.search(rb"20\d\d-\d\d|Date|matplotlib", content, re.IGNORECASE)


def test_svg_and_png_say_what_they_show() -> None:
    drawing = compared()
    root, picture = ET.fromstring(drawing.svg), Image.open(io.BytesIO(drawing.images["png"]))

    assert [root.findtext(f"{SVG}{tag}") for tag in ("title", "desc")] == [drawing.title, drawing.description]
    assert picture.text == {"Title": drawing.title, "Description": drawing.description}  # type: ignore[attr-defined]


def test_a_tall_figure_is_a_png_of_bounded_size() -> None:
    with house_style():
        figure, _ = panels(3, columns=1, width=WIDTH, height=30.0)
        drawing = finish(figure, name="tall", title="", caption="", description="", hover={})

    assert max(Image.open(io.BytesIO(drawing.images["png"])).size) == MAX_PIXELS


@pytest.mark.parametrize("style", STYLES)
def test_a_title_is_nearer_to_its_panel_than_to_the_numbers_above_it(style: str) -> None:
    with drawn_in(style), house_style():
        figure, axes = panels(4, columns=2, width=WIDTH, height=2.0)
        titles = [ax.set_title("a parameter") for ax in axes]
        figure.draw_without_rendering()
        numbers = min(label.get_window_extent().y0 for label in axes[0].get_xticklabels())
        title, panel = titles[2].get_window_extent(), axes[2].get_window_extent()

    assert numbers - title.y1 > 1.2 * (title.y0 - panel.y1) > 0


@pytest.mark.parametrize(("columns", "inches"), [(1, 3.35), (2, 6.9), (3, 6.9)])
def test_a_figure_for_a_paper_is_as_wide_as_a_column_or_both(columns: int, inches: float) -> None:
    with drawn_in("paper"), house_style():
        figure, axes = panels(columns, columns=columns, width=WIDTH, height=3.0)
        axes[0].set_title("accuracy")
        drawing = finish(figure, name="a", title="", caption="", description="", hover={})

    root = ET.fromstring(drawing.svg)
    assert float(root.get("width", "").removesuffix("pt")) == pytest.approx(72 * inches, abs=0.1)
    assert "<text" not in drawing.svg  # letters are outlines: a typesetter has other fonts
    assert Image.open(io.BytesIO(drawing.images["png"])).width == pytest.approx(300 * inches, abs=1)
    assert drawing.images["pdf"].startswith(b"%PDF")


def test_a_figure_of_one_column_is_shown_whole_on_a_telephone() -> None:
    [smallest] = re.findall(r"\.drawing svg {[^}]*min-width: calc\(([.\d]+) \* var\(--wide\)\)", CSS.read_text())
    widths = {}
    for columns in (1, 2):
        with house_style():
            figure, _ = panels(2, columns=columns, width=WIDTH, height=3.0)
            drawing = finish(figure, name="a", title="", caption="", description="", hover={})
        widths[columns] = float(smallest) * int(re.findall(r"--wide: (\d+)px", inline(drawing.svg, "a"))[0])

    assert widths[1] <= 360 - 2 * 16  # of the narrowest in use, without the page's margins
    assert widths[2] / 2 <= 360 - 2 * 16  # of panels side by side one


def test_a_legend_that_is_too_wide_gets_more_rows_and_the_figure_the_room_for_them() -> None:
    with drawn_in("paper"), house_style():
        figure, axes = panels(1, columns=1, width=WIDTH, height=3.0)
        before = figure.get_figheight()
        keys = [axes[0].plot([0, 1], label=f"S = 0.9{i} uniform")[0] for i in range(8)]
        figure.legend(handles=keys, loc="outside lower left", ncols=5)
        finish(figure, name="a", title="", caption="", description="", hover={})

    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [f"S = 0.9{i} uniform" for i in range(8)]
    assert legend.get_window_extent().width <= figure.bbox.width
    assert figure.get_figheight() > before + 0.3


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(UnknownName, match='Did you mean "paper"'), drawn_in("papr"):
        pass


def test_every_trial_has_a_mark_that_tells_its_values() -> None:
    frame, provenance = CASES["whole"]().load()
    drawing = parameters(frame, analyse(frame, ""), provenance.spec.search)
    assert drawing is not None
    texts = hover_texts(drawing)

    assert len(texts) == 3 * 48  # parameters × trials, none of them waiting or failed
    assert sum("pruned" in text for text in texts) == 3 * sum("pruned" in text for text in texts) // 3
    assert any(
        re.fullmatch(r"S = 0\.9 ERK, trial 0, reference.*, complete: 8\d\.\d\d % at η 0\.1, .*", t) for t in texts
    )


def test_marks_lie_in_the_order_of_their_texts() -> None:
    trials = [done({**REFERENCE, "lr": lr}, val, val) for lr, val in ((0.02, 0.80), (0.05, 0.84), (0.2, 0.82))]
    spec = make_spec()
    frame, _ = load(spec, [trials])
    drawing = parameters(frame, analyse(frame, ""), spec.search)
    assert drawing is not None
    group = next(g for g in ET.fromstring(drawing.svg).iter(f"{SVG}g") if g.get("id") == "parameter-0-0-complete")
    marks_at = [(float(use.get("x", 0)), float(use.get("y", 0)), use[0].text or "") for use in group.iter(f"{SVG}use")]

    assert [re.search(r"η ([\d.]+)", text)[1] for _, _, text in marks_at] == ["0.02", "0.05", "0.2"]  # type: ignore[index]
    assert [x for x, _, _ in marks_at] == sorted(x for x, _, _ in marks_at)
    assert min(marks_at, key=lambda mark: mark[1])[2].endswith("η 0.05, α 0.3, ΔT 100")  # y points down


def test_pruned_trials_are_hollow_and_tell_their_values_whatever_their_shape() -> None:
    n_pairs = len(marks.PAIR_MARKERS)
    search, reference = {"lr": {"low": 0.01, "high": 0.3, "log": True}}, {"lr": 0.1}
    spec = make_spec(sparsity=tuple(0.5 + 0.01 * i for i in range(n_pairs)), search=search, reference=reference)
    pruned = [Told({"lr": 0.02 + 0.01 * i}, "pruned", curve=[0.7 + 0.001 * i]) for i in range(12)]
    frame, _ = load(spec, [[done(reference, 0.8, 0.8), *pruned]] * n_pairs)
    drawing = parameters(frame, analyse(frame, ""), spec.search)
    assert drawing is not None
    root = ET.fromstring(drawing.svg)
    for pair in range(n_pairs):
        group = next(g for g in root.iter(f"{SVG}g") if g.get("id") == f"parameter-0-{pair}-pruned")
        hollow = [mark for mark in group.iter() if "fill: none" in mark.get("style", "") and len(mark)]
        assert [re.search(r"trial (\d+), pruned", mark[0].text or "")[1] for mark in hollow] == [  # type: ignore[index]
            str(number) for number in range(1, 13)
        ], f"pair {pair}"


def test_the_comparison_tells_the_numbers_to_those_who_do_not_see_it() -> None:
    drawing = compared()

    assert "reference 84.0 ± 0.3 %; best 85.0 ± 0.3 %;" in drawing.description


def test_the_panel_of_differences_is_described_as_it_is() -> None:
    def described(*cases: str) -> str:
        return what_is_drawn([pair for case in cases for pair in analyse(CASES[case]().load()[0], case).pairs])

    assert described("one_seed").startswith("the mean difference (diamond), of which nothing tells the luck")
    assert described("one_complete") == "why there is no gain to show"
    assert described("whole").endswith("the difference of each seed (dots)")
    assert described("whole", "one_seed").endswith("a diamond without a line is a mean difference, luck and all")


def test_an_interval_that_leaves_the_panel_is_cut_by_arrows() -> None:
    reference = Told(REFERENCE, val=(0.8, 0.8), test=(0.800, 0.800))
    frame, _ = load(make_spec(), [[reference, Told(OTHER, val=(0.81, 0.81), test=(0.801, 0.809))]])
    analysis = analyse(frame, "")
    gap = analysis.pairs[0].test_difference

    assert gap is not None
    assert gap.high is not None
    assert 0.009 < marks.reach_of(analysis.pairs) < gap.high
    assert comparison(analysis) is not None


def test_a_curve_that_ends_in_nan_is_drawn_as_far_as_it_goes() -> None:
    diverged = Told(OTHER, "failed", curve=[0.5, float("nan")], error="diverged")
    frame, _ = load(make_spec(), [[done(REFERENCE, 0.8, 0.8), diverged]])
    drawing = curves(frame, analyse(frame, ""))

    assert drawing is not None
    assert "trial 1, failed: not a number after 2 epochs" in hover_texts(drawing)


def test_hopeless_trials_do_not_flatten_the_others() -> None:
    values = pd.Series([0.1, 0.1, *np.linspace(0.84, 0.86, 30)])

    assert 0.75 < marks.floor_of(values, values) < 0.84
    assert marks.floor_of(values[:1], values[:1]) == 0.1


def test_a_big_study_is_thinned_but_keeps_reference_and_best() -> None:
    spec = make_spec(n_trials=200)
    frame, _ = load(spec, realistic(spec, n_trials=200))
    analysis = analyse(frame, "")
    drawing = curves(frame, analysis)
    assert drawing is not None
    texts = hover_texts(drawing)

    assert len(texts) <= MAX_CURVES + 2
    assert any("reference" in text for text in texts)
    assert any("best" in text for text in texts)
    assert re.search(r"Not drawn: 1[34]\d trials of middling rank", drawing.caption)


def test_the_marks_of_many_studies_are_limited_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec(sparsity=(0.8, 0.9), n_trials=20)
    frame, _ = load(spec, realistic(spec, n_trials=20))
    monkeypatch.setattr(trial_figures, "MAX_CURVES_IN_ALL", 10)
    monkeypatch.setattr(trial_figures, "MAX_MARKS_IN_ALL", 8)
    analysis = analyse(frame, "")
    for drawing, n_panels, at_most in (
        (curves(frame, analysis), 1, 10),
        (parameters(frame, analysis, spec.search), len(spec.search), 8),
    ):
        assert drawing is not None
        texts = hover_texts(drawing)
        assert n_panels * at_most * 0.8 <= len(texts) <= n_panels * (at_most + 6)
        assert "Not drawn: " in drawing.caption


def test_the_users_matplotlib_settings_neither_matter_nor_change() -> None:
    plain = compared().svg
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        assert compared().svg == plain
        assert mpl.rcParams["font.size"] == 30


def test_a_dollar_in_a_name_is_a_dollar() -> None:
    axis = ParameterAxis.of("name", Choice(values=("$x^2$", "b")), pd.Series(["b"]))

    assert axis.position("$x^2$") == 0
    spec = make_spec(search={"anneal": ["cosine", "constant"]}, sampler="grid")
    frame, _ = load(spec, [[done({"anneal": "cosine"}, 0.8, 0.8)]])
    assert parameters(frame, analyse(frame, ""), spec.search) is not None


def test_parameter_axes() -> None:
    seen = pd.Series([0.1])

    assert ParameterAxis.of("lr", Range(low=0.01, high=1.0, log=True), seen).log
    assert not ParameterAxis.of("alpha", Choice(values=(0.1, 0.3, 0.5)), seen).log
    assert ParameterAxis.of("lr", Choice(values=(0.01, 0.1)), seen).log
    assert ParameterAxis.of("nesterov", Choice(values=(True, False)), seen).choices == (True, False)
    assert ParameterAxis.of("one", Choice(values=(3,)), seen).choices == (3,)
    foreign = ParameterAxis.of("any", None, pd.Series([3.0, 1.0, 2.0]))
    assert (foreign.choices, foreign.limits) == (None, (0.9, 3.1))


@pytest.mark.parametrize(
    ("axis", "labels"),
    {
        "whole": (Range(low=1, high=5), ["1", "2", "3", "4", "5"]),
        "two whole": (Range(low=1, high=2), ["1", "2"]),
        "wide": (Range(low=1e-5, high=0.1, log=True), ["1e-05", "1e-04", "1e-03", "1e-02", "1e-01"]),
        "from 0.0001": (Range(low=1e-4, high=0.1, log=True), ["0.0001", "0.001", "0.01", "0.1"]),
        "small": (Range(low=1e-5, high=1e-4, log=True), ["1e-05", "3e-05", "1e-04"]),
        "choices": (Choice(values=(2.5e-5, 0.001)), ["2.5e-05", "1e-03"]),
    }.values(),
)
def test_ticks_are_values_that_can_be_had_in_one_notation(axis: Axis, labels: list[str]) -> None:
    with house_style():
        _, (ax,) = panels(1, columns=1, width=WIDTH, height=3.0)
        layout = ParameterAxis.of("any", axis, pd.Series([1.0]))
        layout.prepare(ax)
        low, high = layout.limits
        ticks = zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)

    assert [label.get_text() for tick, label in ticks if low <= tick <= high] == labels


MANY = ("dense", "small_dense", "static", "set", "snfs", "rigl", "rigl_sg", "rigl_sm", "pruning")


@pytest.mark.parametrize(("choices", "columns", "angle"), [(MANY[:3], 1, 0), (MANY, 1, 40), (MANY[:3], 3, 40)])
def test_labels_of_choices_are_slanted_where_they_would_touch(
    choices: tuple[str, ...], columns: int, angle: float
) -> None:
    with house_style():
        _figure, axes = panels(columns, columns=columns, width=WIDTH, height=3.0)
        ParameterAxis.of("method", Choice(values=choices), pd.Series(choices)).prepare(axes[0])

    assert {label.get_rotation() for label in axes[0].get_xticklabels()} == {angle}


def test_inline_has_its_own_identifiers_and_the_pages_colours() -> None:
    drawing = compared()
    element = inline(drawing.svg, "here")

    ids = re.findall(r'\bid="([^"]+)"', element)
    assert ids
    assert len(ids) == len(set(ids))
    assert all(i.startswith("here-") for i in ids)
    assert set(re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", element)) != set()
    for used in re.findall(r"(?:url\(|href=\")#([^)\"]+)", element):
        assert used in ids
    assert not any(light in element for light, _dark in THEME.values())
    assert "<style" not in element


def test_colours_stand_out_against_their_ground() -> None:
    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for mode in (0, 1):
        paper = luminance(THEME["paper"][mode])
        for name, colours in THEME.items():
            low, high = sorted((paper, luminance(colours[mode])))
            needed = {"paper": 1.0, "grid": 1.0, "faint": 2.0, "ink": 7.0, "muted": 4.5}.get(name, 3.0)
            assert (high + 0.05) / (low + 0.05) >= needed, f"{name} {colours[mode]}"
