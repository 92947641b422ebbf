"""What a report consists of: complete, self-contained, the same texts for the same data."""

import csv
import functools
import io
import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from studies.analysis import analyse
from studies.report import Form, render_report
from studies.reporting import summary
from studies.reporting.result_words import headline
from studies.summary_schemas import published_schema
from studies.tables import Table, markdown_text
from tests.studies.quick_reports import draw_no_png
from tests.studies.sample_campaign import REFERENCE, Told, make_spec
from tests.studies.sample_cases import ALL_FIGURES, CASES, OTHER, load

ABSENT = tuple(path.rpartition(".")[2] for path in summary.ABSENT)
SUMMARY = Draft202012Validator(published_schema())
DRAWN = {
    "nothing_stored": (),
    "all_waiting": (),
    "first_epoch": ("timeline",),
    "one_seed": ("comparison", "parameters", "cost", "layers", "timeline"),
    "all_pruned": ("parameters", "curves", "timeline"),
    "all_failed": ("timeline",),
    "no_search": ("comparison", "curves", "cost", "layers", "timeline"),
    "no_test": ("parameters", "cost", "layers", "timeline"),
    "whole": ALL_FIGURES,
}
"""Cases in which something is missing, and the figures that there are nevertheless."""
SVG = "{http://www.w3.org/2000/svg}"
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Checks that tags match, and collects what a browser would fetch, run or jump to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str]:
        return [value for _tag, attribute, value in self.attributes if attribute == name]


@functools.cache
def rendered(case: str) -> dict[str, str]:
    """The report without PNGs, which nobody reads here and which take longest."""
    with pytest.MonkeyPatch.context() as patch:
        draw_no_png(patch)
        return render_report(*CASES[case]().load())


@pytest.fixture
def whole() -> dict[str, str]:
    return rendered("whole")


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    """Each in turn. All its tests run one after the other, and so in the process that has its report."""
    name: str = request.param
    return name


def test_every_corner_gives_a_readable_report(case: str) -> None:
    made = CASES[case]()
    files = rendered(case)
    page = Page(files["report.html"])

    assert made.says in page.text or made.says in files["report.html"]
    for name in ("report.html", "report.md"):
        assert not re.search(r"\b(nan|None|NaT|<NA>)\b", files[name].split("<details>")[0]), name
    json.loads(files["summary.json"], parse_constant=lambda constant: pytest.fail(constant))
    assert len(list(csv.DictReader(io.StringIO(files["trials.csv"])))) == sum(map(len, made.trials))


def test_its_figures_are_well_formed_and_say_what_they_show(case: str) -> None:
    for svg in (text for name, text in rendered(case).items() if name.endswith(".svg")):
        root = ET.fromstring(svg)
        assert all(root.findtext(f"{SVG}{tag}") for tag in ("title", "desc"))
        assert "<text" in svg  # text is text, not outlines
        assert "nan" not in svg.lower().replace("finance", "")
    found = {name.removeprefix("figures/") for name in rendered(case) if name.startswith("figures/")}
    assert found == {f"{name}.svg" for name in DRAWN.get(case, ())} or case not in DRAWN


def test_the_page_needs_nothing_from_elsewhere(case: str) -> None:
    files = rendered(case)
    page = Page(files["report.html"])

    assert "script" not in {tag for tag, _, _ in page.attributes}
    assert page.values("src") == []
    own = {f"#{name}" for name in page.values("id")} | {"data:,", *files}
    assert {*page.values("href"), *page.values("xlink:href")} <= own
    assert not re.search(r"url\((?!#)|@import", files["report.html"])
    assert set(re.findall(r"https?://[^\s\"'<]+", files["report.html"])) <= {
        "http://www.w3.org/2000/svg",  # names of XML namespaces, which nobody fetches
        "http://www.w3.org/1999/xlink",
    }
    assert not any(name.startswith("on") for _, name, _ in page.attributes)


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(published_schema())


def test_identifiers_are_unique(whole: dict[str, str]) -> None:
    ids = Page(whole["report.html"]).values("id")

    assert len(ids) == len(set(ids))


def test_figures_and_scrolling_tables_can_be_reached_by_keyboard_and_have_names(whole: dict[str, str]) -> None:
    page = whole["report.html"]

    regions = re.findall(r'<div class="scroll[^>]*>', page)
    assert len(regions) == page.count("<table") + page.count("<figure>") >= 9
    assert all('tabindex="0"' in region and 'aria-label="' in region for region in regions)
    assert 'role="img" aria-label="Reference and best on test. S = 0.9 uniform: reference 8' in page


def test_the_first_screen_answers(whole: dict[str, str]) -> None:
    text = Page(whole["report.html"]).text
    places = [
        text.index(part)
        for part in (
            "Which learning rate η, drop fraction α and update interval ΔT should RigL use",
            "pairs:",
            "95 % interval",
        )
    ]

    assert places == sorted(places)
    assert text.index("Reference and best on test") < text.index("Learning curves")


def test_a_parameter_stays_on_the_line_of_its_value(whole: dict[str, str]) -> None:
    cell = r'<td data-label="best on validation"><span><span class="part">η [.\d]+</span>, <span class="part">α '
    assert re.search(cell, whole["report.html"])


def test_a_printed_page_has_names_of_files_and_no_addresses(whole: dict[str, str]) -> None:
    page = whole["report.html"]
    links = re.findall(r'<a class="on-screen" href="([^"#]+)">', page)

    assert {*links} == {"trials.csv", "summary.json"}
    assert re.findall(r'<span class="on-paper">([^<]+)</span>', page) == links
    assert "on-paper" in page.split("@media print")[1].partition("</style>")[0]


@pytest.mark.parametrize(
    ("best", "reference", "says"),
    [
        ((), (), "neither best nor reference has a test accuracy"),
        ((0.8, 0.8), (), "the reference has no test accuracy"),
        ((math.nan, 0.8), (0.8, 0.8), "the best has a test accuracy that is not a number"),
        ((math.nan, 0.8), (0.8, math.nan), "best and reference each have a test accuracy that is not a number"),
    ],
)
def test_why_test_accuracies_cannot_be_compared(
    best: tuple[float, ...], reference: tuple[float, ...], says: str
) -> None:
    trials = [Told(REFERENCE, val=(0.8, 0.8), test=reference), Told(OTHER, val=(0.82, 0.82), test=best)]
    analysis = analyse(load(make_spec(), [trials])[0], "sample")

    assert headline(analysis).endswith(f"; no comparison: {says}")


def test_hostile_names_do_nothing() -> None:
    files = rendered("hostile_names")

    assert "<script" not in files["report.html"]
    assert "<script" not in files["report.md"].split("```")[0]
    assert r"&lt;script&gt;alert(1)&lt;/script&gt; \| \*bold\* &amp; co" in files["report.md"]
    failed = list(csv.DictReader(io.StringIO(files["trials.csv"])))[1]
    assert failed["error"].startswith("'=cmd|")
    assert failed["worker"].startswith("'@SUM")


def test_trials_csv_has_a_column_for_every_parameter_and_seed() -> None:
    files = rendered("unfinished")
    rows = list(csv.DictReader(io.StringIO(files["trials.csv"])))

    first = rows[0]
    assert (first["campaign"], first["study"], first["number"]) == ("sample", "sample/rigl-s0.9-erk", "0")
    assert (first["state"], first["lr"], first["alpha"], first["delta_t"]) == ("complete", "0.1", "0.3", "100")
    assert (first["val_accuracy_0"], first["val_accuracy_1"]) == ("0.849", "0.851")
    assert (first["test_accuracy_0"], first["test_accuracy_1"]) == ("0.838", "0.842")
    assert json.loads(first["curve"]) == {"0": 0.75, "1": 0.85}
    assert (first["worker"], first["seconds"], first["started"]) == ("w0", "12.5", "2026-03-01T09:00:00")
    assert float(first["train_flops"]) == pytest.approx(0.19 * 1.02)
    assert rows[2]["value"] == rows[2]["test_accuracy_0"] == rows[2]["seeds"] == ""


def test_summary_has_exactly_the_documented_keys() -> None:
    together = ("whole", "nothing_stored", "all_pruned", "all_failed", "beside_the_published")

    assert set().union(*(_paths(json.loads(rendered(case)["summary.json"])) for case in together)) == set(summary.KEYS)


def test_summary_is_as_its_published_schema_says(case: str) -> None:
    content = json.loads(rendered(case)["summary.json"])

    SUMMARY.validate(content)
    assert _paths(content) <= set(summary.KEYS)


@pytest.mark.parametrize(
    "change",
    {
        "a key too many": lambda summary: summary.update(more=1),
        "a key too few": lambda summary: summary["pairs"][0].pop("label"),
        "no such verdict": lambda summary: summary["pairs"][0].update(verdict="maybe"),
        "a word for a number": lambda summary: summary["pairs"][0]["best"].update(seconds="12.5"),
        "half a trial": lambda summary: summary["counts"].update(complete=0.5),
        "a seed that is none": lambda summary: summary["pairs"][0]["best"]["val_accuracy"].update(by_seed={"a": 1}),
        "nothing for a list": lambda summary: summary.update(pairs=None),
    }.values(),
)
def test_the_schema_admits_nothing_else(change: Callable[[dict[str, Any]], object]) -> None:
    summary = json.loads(rendered("two_complete")["summary.json"])
    change(summary)

    assert not SUMMARY.is_valid(summary)


def test_summary_numbers() -> None:
    summary = json.loads(rendered("two_complete")["summary.json"])
    (pair,) = summary["pairs"]

    assert summary["schema_version"] == 2
    assert pair["verdict"] == "no_interval"
    assert pair["reference"]["test_accuracy"]["mean"] == pytest.approx(0.84)
    assert pair["best"]["params"] == {"lr": 0.05, "alpha": 0.4, "delta_t": 250}
    assert pair["test_difference"]["by_seed"] == pytest.approx({"0": 0.01, "1": 0.01})
    assert pair["test_difference"]["low"] is None
    assert summary["counts"]["complete"] == 2
    assert summary["provenance"]["spec"]["name"] == "sample"
    assert summary["provenance"]["environments"][0]["trials"] == 2


def test_markdown_tables_have_titles(whole: dict[str, str]) -> None:
    text = whole["report.md"]
    assert "*Trials by state*\n\n| pair | waiting |" in text
    assert len(re.findall(r"(?m)^\| -", text)) == len(re.findall(r"(?m)^\*[^*].*[^*]\*\n\n\|", text))


def test_markdown_tables_keep_their_columns() -> None:
    table = Table("t", "T", ("a|b", "c"), (("x|y", "line\nbreak"), ("`code`", "*")), frozenset({1}))

    assert table.markdown().splitlines() == [
        r"| a\|b | c |",
        "| --- | ---: |",
        r"| x\|y | line break |",
        r"| \`code\` | \* |",
    ]
    assert table.plain().splitlines()[0] == "a|b              c"


@pytest.mark.parametrize(
    ("text", "shown"),
    {
        "plain, 84.6 ± 0.2 % −0.1": "plain, 84.6 ± 0.2 % −0.1",
        "# no heading": r"\# no heading",
        "- no item": r"\- no item",
        "1. no item": r"1\. no item",
        "[a](javascript:x)": r"\[a\](javascript:x)",
        "<b>": "&lt;b&gt;",
        "> quote": "&gt; quote",
        "a_b": "a_b",
        "a\\|b": r"a\\\|b",
    }.items(),
)
def test_markdown_shows_any_text_as_it_is(text: str, shown: str) -> None:
    assert markdown_text(text) == shown


def test_the_same_data_give_the_same_texts() -> None:
    assert rendered.__wrapped__("unfinished") == rendered("unfinished")


def test_headline_for_the_terminal() -> None:
    frame, _ = CASES["two_complete"]().load()

    assert headline(analyse(frame, "")) == (
        "S = 0.98 ERK: reference (η 0.1, α 0.3, ΔT 100) 84.0 ± 0.3 % test; best of 2 on validation (η 0.05, "
        "α 0.4, ΔT 250) 85.0 ± 0.3 %; difference +1.00 ± 0.00 points over 2 seeds (no interval)"
    )


def test_at_paper_size_the_figures_are_others_and_the_text_is_the_same() -> None:
    files, screen = render_report(*CASES["methods"]().load(), form=Form(style="paper")), rendered("methods")
    figures = {name.removesuffix(".svg") for name in screen if name.startswith("figures/")}

    assert len(figures) >= 5
    assert files.keys() == screen.keys() | {f"{name}.{kind}" for name in figures for kind in ("pdf", "png")}
    assert [name for name in screen if not name.startswith("figures/") and files[name] == screen[name]] == [
        *("report.md", "trials.csv"),
    ]
    page, on_screen = (re.sub(r"<svg.*?</svg>", "", made["report.html"], flags=re.DOTALL) for made in (files, screen))
    assert page == on_screen


def test_a_page_that_is_still_being_written_is_read_again() -> None:
    files = render_report(*CASES["all_waiting"]().load(), form=Form(refresh=20))

    assert '<meta http-equiv="refresh" content="20">' in files["report.html"]
    assert "refresh" not in rendered("all_waiting")["report.html"]


def test_a_page_can_be_sent_by_mail(whole: dict[str, str]) -> None:
    assert len(whole["report.html"].encode()) < 5_000_000


def _paths(value: Any, at: str = "") -> set[str]:
    """Paths of all keys, down to those that hold values; objects by seed or parameter and the spec are values."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return set().union(*(_paths(element, f"{at}[]") for element in value))
    if not isinstance(value, dict) or at.rpartition(".")[2] in ("by_seed", "params", "spec", "versions", "environment"):
        if isinstance(value, list) and any(key.startswith(f"{at}[]") for key in summary.KEYS):
            return set()
        absent = value is None and at.rpartition(".")[2] in ABSENT
        return set() if absent or (not value and at == "evidence") else {at}
    return set().union(*(_paths(child, f"{at}.{key}" if at else key) for key, child in value.items()))


def test_bits_per_character_are_told_of_texts_only() -> None:
    text, image = rendered("text"), rendered("two_complete")
    first = next(csv.DictReader(io.StringIO(text["trials.csv"])))
    assert (first["bits_per_character_0"], first["test_bits_per_character_1"]) == ("1.9", "2.02")
    assert json.loads(text["summary.json"])["pairs"][0]["best"]["bits_per_character"]["by_seed"] == {
        "0": 1.8,
        "1": 1.82,
    }
    for name in ("report.html", "report.md"):
        assert "fewer bits are better" in text[name]
        assert "fewer bits are better" not in image[name]
    assert "bits_per_character" not in image["trials.csv"]
