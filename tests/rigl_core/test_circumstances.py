"""What of an environment counts, and how differences are told."""

from rigl_core.circumstances import differences, joined

FIRST = {"torch": "2.12.0", "threads": "1", "precision": "float32", "host": "a", "python": "3.11.9"}


def test_attempts_that_compute_alike_do_not_differ() -> None:
    first = joined({}, FIRST)
    assert first == {"torch": ("2.12.0",), "threads": ("1",), "precision": ("float32",)}
    again = joined(first, {**FIRST, "host": "b", "python": "3.12.1"})
    assert again == first
    assert differences(again) == ""


def test_every_value_is_told_once_the_earliest_first() -> None:
    seen = joined({}, FIRST)
    for changes in ({"torch": "2.13.0"}, {}, {"torch": "2.13.0", "precision": "bfloat16"}):
        seen = joined(seen, {**FIRST, **changes})
    assert differences(seen) == "torch 2.12.0, 2.13.0; precision float32, bfloat16"


def test_what_an_earlier_attempt_did_not_tell_is_no_difference() -> None:
    assert differences(joined({"torch": ("2.12.0",)}, FIRST)) == ""
