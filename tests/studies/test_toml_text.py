"""What is written as TOML is read as the same value."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies.toml_text import toml_key, toml_value

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=8)


@given(TEXTS, VALUES)
def test_values_come_back(key: str, value: object) -> None:
    assert tomllib.loads(f"{toml_key(key)} = {toml_value(value)}") == {key: value}


def test_tuples_are_lists_and_plain_keys_stay_plain() -> None:
    assert toml_value((0, 1)) == "[0, 1]"
    assert toml_value({"layers.0": 0.5, "a-b": "x"}) == '{ "layers.0" = 0.5, a-b = "x" }'
    assert toml_value(True) == "true"


def test_what_toml_lacks_is_refused() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        toml_value([None])
