"""The report as people meet it: opened from the disk in a real browser, in light, dark, on a phone, and on paper."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studies.comparison_report import write_comparison
from studies.foreign import load_foreign
from studies.foreign_report import write_foreign
from studies.report import write_report
from tests.acceptance.chromium import ARGUMENTS, BROWSER, PATIENCE, needs_browser
from tests.studies.quick_reports import draw_no_png, resample_little
from tests.studies.sample_cases import CASES, few_with_all_figures
from tests.studies.test_foreign import MIXED, REFERENCE, make_study

SCREENS = {"light": ("light", 1100), "dark": ("dark", 1100), "phone": ("light", 400)}

pytestmark = needs_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS, timeout=PATIENCE)
        yield browser
        browser.close()


def _comparison(folder: Path) -> Path:
    return write_comparison([case.load() for case in (few_with_all_figures(), CASES["unfinished"]())], folder).html


def _foreign(folder: Path) -> Path:
    return write_foreign(load_foreign(make_study(MIXED), "other/svm", REFERENCE), folder).html


OTHERS = {"comparison": _comparison, "foreign": _foreign}


@pytest.fixture(scope="module", params=["whole", "unfinished", "all_failed", *OTHERS])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        resample_little(patch)
        draw_no_png(patch)  # the page shows none
        if request.param in OTHERS:
            return OTHERS[request.param](folder)
        case = few_with_all_figures() if request.param == "whole" else CASES[request.param]()
        return write_report(*case.load(), folder).html


@pytest.mark.parametrize("screen", SCREENS)
def test_opens_without_complaint_or_request(browser: Any, report: Path, screen: str, tmp_path: Path) -> None:
    scheme, width = SCREENS[screen]
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 900}, java_script_enabled=True
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))

    page.goto(report.as_uri())
    page.screenshot(path=tmp_path / f"{screen}.png", full_page=True)

    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # only tables and figures scroll sideways
    scrolled = page.evaluate(
        """[...document.querySelectorAll('.drawing')].filter(box => box.scrollWidth > box.clientWidth)
        .map(box => getComputedStyle(box.querySelector('svg')).getPropertyValue('--wide'))"""
    )
    assert all(int(wide.removesuffix("px")) > 600 for wide in scrolled)  # those with panels side by side
    assert (tmp_path / f"{screen}.png").stat().st_size > 10_000
    context.close()


def test_colours_follow_the_theme(browser: Any, report: Path) -> None:
    grounds = {}
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.set_default_timeout(PATIENCE)
        page.goto(report.as_uri())
        grounds[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        fills = page.evaluate("[...document.querySelectorAll('svg text')].map(e => getComputedStyle(e).fill)")
        assert grounds[scheme] not in fills
        page.close()

    assert grounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 20, 25)"}


def test_the_keyboard_reaches_every_link_table_and_figure(browser: Any, report: Path) -> None:
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(report.as_uri())
    reachable = page.evaluate("document.querySelectorAll('a, summary, [tabindex=\"0\"]').length")
    visited = set()
    for _ in range(reachable):
        page.keyboard.press("Tab")
        visited.add(page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
    page.close()

    assert len(visited) == reachable


def test_prints_all_of_it(browser: Any, report: Path, tmp_path: Path) -> None:
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(report.as_uri())
    page.pdf(path=tmp_path / "report.pdf")
    page.emulate_media(media="print", color_scheme="dark")
    ground = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--paper')")
    page.close()

    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert ground.strip() == "#ffffff"  # paper is white, whatever the screen
