"""Stored text is shown without what would steer a terminal, a browser or the order of reading."""

import json

import pytest

from studies.printable import printable, printable_json, visible

CASES = {
    "a\x1b[31mred": "a\\x1b[31mred",
    "\x00\x07\x1f\x7f\x9b": "\\x00\\x07\\x1f\\x7f\\x9b",
    "line\nbreak\r": "line\\nbreak\\r",
    "\u202eevil\u2066\u2028": "\\u202eevil\\u2066\\u2028",
    "\ud800\ufffe": "\\ud800\\ufffe",
    "学習率 α–\u200d😀 [red]": "学習率 α–\u200d😀 [red]",
}


@pytest.mark.parametrize(("text", "shown"), CASES.items(), ids=range(len(CASES)))
def test_control_characters_are_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert json.loads(printable_json(json.dumps(text, ensure_ascii=False))) == text


def test_lines_may_stay_lines() -> None:
    assert printable("a\x1b\nb", keep="\n") == "a\\x1b\nb"


@pytest.mark.parametrize(("name", "shown"), {"": '""', "  ": '"  "', "\u200b": '"\\u200b"', "a b": "a b"}.items())
def test_a_name_can_be_seen(name: str, shown: str) -> None:
    assert visible(name) == shown
