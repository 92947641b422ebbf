"""A key in the wrong section is told where it belongs; whatever is right, or known nowhere, is left alone."""

import re
from typing import Any

import pytest

from rigl_core.config import TrainConfig
from studies.catalogue import catalogue_names
from studies.errors import SpecError
from studies.misplaced import check_sections, check_single
from studies.spec import Pairs, Strategy, StudySpec
from studies.spec_file import read_document


@pytest.mark.parametrize("name", catalogue_names())
def test_no_key_of_the_catalogue_is_misplaced(name: str) -> None:
    check_sections(read_document(name))
    check_single(read_document(name))


@pytest.mark.parametrize(
    "document", [{}, {"fixed": 3}, {"pairs": [0.9]}, {"novel": 1}, {"fixed": {"novel": 1}}], ids=str
)
def test_other_slips_are_left_to_others(document: dict[str, Any]) -> None:
    check_sections(document)
    check_single(document)


@pytest.mark.parametrize("value", [[0.1], {"low": 0.1, "high": 0.2}], ids=str)
def test_several_values_of_what_is_fixed_are_told_where_they_belong(value: object) -> None:
    for key, where in (("lr", "[search]"), ("sparsity", "[pairs]"), ("distribution", "[pairs]")):
        with pytest.raises(
            SpecError, match=re.escape(f"fixed.{key} = {value}: it has one value for every run")
        ) as told:
            check_single({"fixed": {key: value}})
        assert f"write it below {where}" in str(told.value)
    check_single({"fixed": {"model_options": {"dropout": 0.1}, "dataset_options": {"width": 8}}})


HOMES = {
    "above the first section": StudySpec.model_fields,
    "below [fixed] or [pairs]": Pairs.model_fields,
    "below [strategy]": Strategy.model_fields,
    "below [fixed], or to vary it": set(TrainConfig.model_fields) - {"seeds", *Pairs.model_fields},
}


AT_HOME = {
    "": {"above the first section"},
    "fixed": {"below [fixed], or to vary it", "below [fixed] or [pairs]"},
    "pairs": {"below [fixed] or [pairs]"},
    "search": {"below [fixed], or to vary it", "below [fixed] or [pairs]"},
    "strategy": {"below [strategy]"},
}


@pytest.mark.parametrize("section", AT_HOME)
@pytest.mark.parametrize("home", HOMES)
def test_every_key_is_at_home_somewhere_and_told_where_everywhere_else(section: str, home: str) -> None:
    for key in HOMES[home]:
        document = {section: {key: 1}} if section else {key: 1}
        if home in AT_HOME[section] or (key == "seeds" and section in ("fixed", "search")):  # refused elsewhere
            check_sections(document)
            continue
        with pytest.raises(SpecError) as refused:
            check_sections(document)
        what = f'key in [{section}] "{key}"' if section else f'key "{key}" outside a section'
        assert str(refused.value).startswith(f"unknown {what}. Write it {home}")


def test_other_words_are_told_ours() -> None:
    with pytest.raises(
        SpecError, match=r'unknown key in \[pairs\] "density". Here it is called sparsity, which is 1 - density.'
    ):
        check_sections({"pairs": {"density": [0.1]}})
