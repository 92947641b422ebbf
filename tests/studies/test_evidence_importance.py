"""What matters: known truths are found, noise is not, and few trials are said to be few."""

from collections.abc import Callable

import numpy as np
import pytest

from studies.evidence import importance, importance_section
from studies.evidence.explained import Tried, fanova, interactions
from studies.evidence.importance import Importance, Ranking, Share, as_json, importances
from studies.evidence.importance_nulls import adding_up, shadow
from studies.reporting.section import Text
from tests.studies.evidence_of import evidence_of, evidence_of_case
from tests.studies.sample_campaign import Told, make_spec


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for the spread of a share, and quick."""
    monkeypatch.setattr(importance, "RESAMPLES", 5)


def told(reached: Callable[[float, float], float], n: int, noise: float = 0.001) -> list[Told]:
    """Trials at random places that reach what is asked of lr and alpha; delta_t does nothing."""
    rng = np.random.default_rng(1)
    trials = []
    for _ in range(n):
        lr, alpha, delta_t = rng.uniform(0.05, 0.95), rng.uniform(0.1, 0.9), int(rng.integers(1, 20)) * 50
        value = 0.8 + reached(lr, alpha) + noise * rng.normal()
        params = {"lr": float(lr), "alpha": float(alpha), "delta_t": delta_t}
        trials.append(Told(params, val=(value, value), test=(value, value)))
    return trials


def found_in(trials: list[Told]) -> dict[tuple[str, str], Ranking]:
    found = importances(evidence_of(make_spec(n_trials=len(trials)), [trials]).frame, "random")
    return {(one.scope, ranking.measure): ranking for one in found for ranking in one.rankings}


def test_what_matters_more_ranks_first_and_what_does_nothing_does_not_stand_out() -> None:
    rankings = found_in(told(lambda lr, alpha: 0.08 * lr + 0.03 * alpha, 60))
    fanova = rankings["all", "fanova"]

    assert [share.params for share in fanova.shares] == [("lr",), ("alpha",), ("delta_t",)]
    assert [share.is_told for share in fanova.shares] == [True, True, False]
    assert ("lr", "alpha") in fanova.above
    assert rankings["all", "ped_anova"].shares[0].params == ("lr",)
    assert all(0 <= s.low <= s.share <= s.high <= 1 for ranking in rankings.values() for s in ranking.shares)


def test_noise_alone_is_told_as_noise() -> None:
    evidence = evidence_of(make_spec(n_trials=40), [told(lambda lr, alpha: 0.0, 40)])
    section = importance_section.section(evidence)

    assert section is not None
    finding = section.blocks[0]
    assert isinstance(finding, Text)
    assert finding.text.startswith("No parameter is shown to matter")


def test_the_finding_denies_nothing_that_the_sentence_below_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def ranking(measure: str, *told: str) -> Ranking:
        names = ("lr", "alpha", "delta_t")
        return Ranking(measure, tuple(Share((name,), 1 / 3, 0.0, 1.0, 0.5, name in told) for name in names), ())

    def finding(*of_ped_anova: str) -> tuple[str, str]:
        one = Importance("all", 20, 20, (ranking("fanova"), ranking("ped_anova", *of_ped_anova)))
        monkeypatch.setattr(importance_section, "importances", lambda *_: (one,))
        section = importance_section.section(evidence_of(make_spec(n_trials=1), [told(lambda lr, alpha: 0.0, 1)]))
        assert section is not None
        lead, sentence = (block.text for block in section.blocks[:2] if isinstance(block, Text))
        return lead, sentence

    lead, sentence = finding("alpha", "lr")
    assert (
        lead == "No parameter is shown to matter by fANOVA; by PED-ANOVA learning rate η and drop fraction α stand out."
    )
    assert "PED-ANOVA: learning rate η 33 % (0 to 100 %), drop fraction α 33 % (0 to 100 %) stand out" in sentence
    lead, _ = finding()
    assert lead == "No parameter is shown to matter: each explains no more than one that does nothing would."


@pytest.mark.parametrize(("sampler", "warns"), [("random", False), ("tpe", True)])
def test_the_note_says_what_brackets_are_and_what_a_sampler_that_learns_hides(
    monkeypatch: pytest.MonkeyPatch, sampler: str, *, warns: bool
) -> None:
    one = Importance("all", 20, 20, (Ranking("fanova", (Share(("lr",), 0.5, 0.4, 0.6, 0.1, True),), ()),))
    monkeypatch.setattr(importance_section, "importances", lambda *_: (one,))
    evidence = evidence_of(make_spec(n_trials=1, sampler=sampler), [told(lambda lr, alpha: 0.0, 1)])
    section = importance_section.section(evidence)

    assert section is not None
    note = section.blocks[-1]
    assert isinstance(note, Text)
    assert "not where the true share lies" in note.text
    assert ("two that act together are often missed" in note.text) is warns


def test_of_trials_that_are_alike_nothing_explains_anything() -> None:
    codes = np.random.default_rng(0).uniform(size=(12, 2))
    assert fanova(Tried(codes, (None, None), np.full(12, 0.8)), 2).tolist() == [0, 0]


def test_an_interaction_is_a_share_of_the_variance() -> None:
    # x, y in {0, 1} and their exclusive or: neither does anything alone, the two explain everything, z nothing.
    codes = np.array([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 0.5, 1.0)] * 4)
    table = Tried(codes, (None, None, None), np.logical_xor(codes[:, 0], codes[:, 1]).astype(float))
    both, first, second = interactions(table, 32)

    assert both > 0.5
    assert first < 0.1 > second


def test_no_interaction_of_a_sum() -> None:
    codes = np.array([[x, y] for x in np.linspace(0, 1, 6) for y in np.linspace(0, 1, 6)])

    assert interactions(Tried(codes, (None, None), codes.sum(1)), 32)[0] < 0.05


def test_the_same_trials_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "SHADOWS", 2)
    frame = evidence_of(make_spec(n_trials=14), [told(lambda lr, alpha: lr / 20, 14)]).frame

    assert as_json(importances(frame, "tpe")) == as_json(importances(frame, "tpe"))


@pytest.mark.parametrize(
    ("case", "says"),
    {
        "nothing_stored": "Too few complete trials to tell what matters: 0, and it takes 12.",
        "one_complete": "Too few complete trials to tell what matters: 1, and it takes 12.",
        "two_complete": "Too few complete trials to tell what matters: 2, and it takes 12.",
        "all_pruned": "Too few complete trials to tell what matters: 0, and it takes 12.",
        "all_failed": "Too few complete trials to tell what matters: 0, and it takes 12.",
        "not_a_number": "Too few complete trials to tell what matters: 2, and it takes 12.",
        "one_seed": "Too few complete trials to tell what matters: 2, and it takes 12.",
        "one_parameter": "Only drop fraction α was searched, so there is nothing to rank.",
    }.items(),
)
def test_what_cannot_be_told(case: str, says: str) -> None:
    section = importance_section.section(evidence_of_case(case))

    assert section is not None
    assert section.blocks == (Text(says, "missing"),)


def test_trials_that_all_reached_the_same() -> None:
    found = importances(
        evidence_of(make_spec(n_trials=14), [told(lambda lr, alpha: 0.0, 14, noise=0.0)]).frame, "random"
    )

    assert found[0] == Importance("all", 14, 14, ())


def test_nothing_searched_has_no_section() -> None:
    assert importance_section.section(evidence_of_case("no_search")) is None


def test_shares_of_a_product_are_those_of_its_closed_form() -> None:
    # Of xy with both even on [0, 1] the variance is 1/9 − 1/16 = 7/144; x alone, whose mean effect is x/2, has 1/48 of
    # it and y as much: 3/7 each. What is left, 1/7, is what they do together. Of 3x + y it is 9/10 and 1/10.
    places = (np.arange(12) + 0.5) / 12
    codes = np.array([[x, y, z] for x in places for y in places for z in (0.0, 1.0)])
    product = Tried(codes, (None, None, None), codes[:, 0] * codes[:, 1])
    together, first, second = interactions(product, 32)

    assert fanova(product, 32) == pytest.approx([3 / 7, 3 / 7, 0], abs=0.07)
    assert (together, first, second) == pytest.approx((1 / 7, 0, 0), abs=0.03)
    assert fanova(Tried(codes, (None,) * 3, 3 * codes[:, 0] + codes[:, 1]), 32) == pytest.approx(
        [0.9, 0.1, 0], abs=0.05
    )


def test_trials_whose_effects_only_add_up_are_their_own_null() -> None:
    # A cubic of one number, a category with three choices and a straight line: nothing is left to shuffle.
    rng = np.random.default_rng(0)
    codes = np.column_stack([rng.uniform(size=40), rng.integers(3, size=40), rng.uniform(size=40)])
    levels = codes[:, 0] ** 3 - codes[:, 0] + np.array([0.1, -0.2, 0.7])[codes[:, 1].astype(int)] + 2 * codes[:, 2]

    for null in adding_up(Tried(codes, (None, 3, None), levels), 3, rng):
        assert null.levels == pytest.approx(levels)


def test_what_two_parameters_do_together_is_shuffled_and_each_effect_stays() -> None:
    # On a full grid of both, the product of centred x and y has no part that adds up, and 3x is all that stays.
    places = (np.arange(6) - 2.5) / 6
    codes = np.array([[x, y] for x in places for y in places])
    together = codes[:, 0] * codes[:, 1]
    (null,) = adding_up(Tried(codes, (None, None), 3 * codes[:, 0] + together), 1, np.random.default_rng(0))

    left = null.levels - 3 * codes[:, 0]
    own = 7 / 36  # of two cubics and a constant on a grid of 6 by 6: on average 7 of 36 is what a trial pulls itself
    assert not np.allclose(left, together)
    assert (left**2).mean() == pytest.approx((together**2).mean() / (1 - own), rel=0.2)


def test_a_shadow_of_random_draws_is_each_pairs_own_values_shuffled() -> None:
    codes = np.arange(12.0)[:, None]
    groups = [np.arange(5), np.arange(5, 12)]
    drawn = shadow(Tried(codes, (None,), codes[:, 0]), 0, groups, "random", np.random.default_rng(0))

    assert [sorted(drawn[rows]) for rows in groups] == [list(range(5)), list(range(5, 12))]
    assert drawn.tolist() != list(range(12))


@pytest.mark.parametrize("sampler", ["tpe", ""])
def test_a_shadow_of_a_sampler_that_learns_depends_on_what_was_reached_and_not_on_what_it_chose(sampler: str) -> None:
    rng = np.random.default_rng(0)
    levels, groups = rng.normal(size=30), [np.arange(30)]

    def drawn(codes: np.ndarray, levels: np.ndarray, n_choices: int | None = None) -> list[float]:
        table = Tried(codes[:, None], (n_choices,), levels)
        return shadow(table, 0, groups, sampler, np.random.default_rng(1)).tolist()

    first = drawn(rng.uniform(size=30), levels)
    assert first == drawn(rng.uniform(size=30), levels)
    assert first != drawn(rng.uniform(size=30), -levels)
    assert all(0 <= place <= 1 for place in first)
    assert set(drawn(np.tile([0.0, 0.4, 1.0], 10), levels)) <= {0, 0.4, 1}
    assert set(drawn(np.tile([0.0, 1.0, 2.0], 10), levels, 3)) <= {0, 1, 2}


@pytest.mark.parametrize(("reached", "pairs"), [("sum", []), ("product", [("lr", "alpha")])])
def test_two_parameters_act_together_in_a_product_and_not_in_a_sum(reached: str, pairs: list[tuple[str, str]]) -> None:
    responses = {
        "sum": lambda lr, alpha: 0.03 * lr + 0.015 * alpha,
        "product": lambda lr, alpha: 0.08 * (lr - 0.5) * (alpha - 0.5),
    }
    interaction = found_in(told(responses[reached], 60))["all", "interaction"]

    assert [share.params for share in interaction.shares if share.is_told] == pairs
