"""The gain of a pair's best over its reference, and what its box may still hold: from its trials to numbers."""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from studies.box import SIGHT, UNSEEN, Box, better_share, most_of, n_settings, nearest, places_in
from studies.coordinates import Cube
from studies.frame import param_columns
from studies.gain import FAR, MOST, Gain, estimate_gain, paired_gain
from studies.reporting.findings import Setting
from studies.search_space import Axis
from studies.seed_noise import noise_of_a_seed

Array = NDArray[np.float64]

FEWEST_SEEDS = 3
"""Two differences alone leave one degree of freedom: Student's t is 12.7 then, and the interval says nothing."""

VAGUE = 2.0
"""An interval that reaches further to either side than so many times all that the accuracies differ by is not told."""

TYPICAL = 3.0
"""Where no seeds tell the noise: trials below the best by more than so many times the distance to the middle one."""


def gain_of(trials: pd.DataFrame, gaps: Mapping[int, float], best: Setting, reference: Setting) -> Gain | None:
    """The gain that the pair's whole response supports, or these two alone where too few trials have their seeds.

    Args:
        trials: of the pair.
        gaps: best minus reference on test, for each seed that both have.
        best: the best on validation.
        reference: what it is compared with.

    Returns:
        None where there is no interval, or one so much wider than all that the trials differ by that it says nothing.
    """
    complete, chosen, accuracies = _near(trials, gaps, [best.number, reference.number])
    cube = Cube.of(complete.loc[chosen], param_columns(trials))
    points = cube.points(complete.loc[chosen])
    gain = estimate_gain(points, accuracies, best=0, reference=1, groups=cube.groups)
    if gain is None and len(gaps) >= FEWEST_SEEDS:
        gain = paired_gain(list(gaps.values()))
    is_vague = gain is not None and (gain.high - gain.low) / 2 > VAGUE * float(np.ptp(accuracies))
    return None if is_vague else gain


def box_of(
    trials: pd.DataFrame,
    tuned: Mapping[str, str],
    search: Mapping[str, Axis | None],
    best: Setting,
    reference: Setting,
    gain: Gain | None,
    margin: float,
) -> Box:
    """What the box may still hold that is better than the reference.

    Args:
        trials: of the pair, those that train what the reference trains.
        tuned: the parameters that make up the box, and their columns.
        search: their axes.
        best: the best on validation; the reference, where nothing beat it.
        reference: what it is compared with.
        gain: of the best over the reference; None where there is no interval, or where it is the reference.
        margin: a gain below this is not worth tuning for.
    """
    seeds = [seed for seed in best.test_by_seed if seed in reference.test_by_seed]
    complete, chosen, accuracies = _near(trials, seeds, list(dict.fromkeys([best.number, reference.number])))
    is_candidate = gain.high < margin if gain is not None else best.number == reference.number
    return box_around(
        complete,
        tuned,
        search,
        reference.number,
        chosen,
        accuracies,
        gain,
        asks_more=is_candidate and accuracies.size > 0,
    )


def box_around(
    complete: pd.DataFrame,
    tuned: Mapping[str, str],
    search: Mapping[str, Axis | None],
    reference: int,
    chosen: Sequence[int],
    accuracies: Array,
    gain: Gain | None,
    *,
    asks_more: bool,
) -> Box:
    """The same from trials that are chosen already.

    Args:
        complete: complete trials, their numbers as index.
        tuned: the parameters that make up the box, and their columns.
        search: their axes.
        reference: the number of the reference.
        chosen: numbers of the trials near the best.
        accuracies: of these, trials by seeds.
        gain: of the best over the reference.
        asks_more: whether what is in sight may gain less than the margin, so that it is worth asking.
    """
    settings = complete[list(tuned.values())].astype(str)
    own = (settings == settings.loc[reference]).all(axis=1)
    n_tried = len(settings[~own].drop_duplicates())
    if not n_tried:
        return Box(0, 1.0, 1.0, None)
    places = places_in(search, tuned, complete)
    distances, rows = nearest(places, complete, tuned)
    out_of_sight = float((distances > SIGHT).mean())
    every = len(settings.drop_duplicates()) >= n_settings(search, tuned)
    share = 0.0 if every else better_share(n_tried)
    if not asks_more or out_of_sight > UNSEEN:
        return Box(n_tried, share, out_of_sight, None)
    near = complete.loc[list(chosen)]
    cube = Cube.of(near, param_columns(complete))
    is_hopeless = complete["value"].to_numpy(float)[rows] < float(near["value"].min())
    asked = near.loc[[reference] * len(places)].assign(**{c: places[c].to_numpy() for c in tuned.values()})
    asked = asked[(distances <= SIGHT) & ~is_hopeless]
    high = most_of(
        cube.points(near), accuracies, cube.points(asked), reference=list(chosen).index(reference), groups=cube.groups
    )
    if high is not None and gain is not None:
        high = max(high, gain.high)
    return Box(n_tried, share, out_of_sight, high)


def _near(trials: pd.DataFrame, seeds: Collection[int], first: Sequence[int]) -> tuple[pd.DataFrame, list[int], Array]:
    """Finished trials, the numbers of those near the best, thinned out behind the `first`, and their test accuracies.

    The accuracies are trials by `seeds`; a trial that lacks some of these is left out.
    """
    complete = trials[(trials["state"] == "complete") & np.isfinite(trials["value"])]
    complete = complete.set_axis(complete["number"].astype(int).to_list())
    told = zip(complete.index, map(by_seed, complete["seeds"], complete["test_accuracy"]), strict=True)
    accuracies = {int(number): [own[seed] for seed in seeds] for number, own in told if set(seeds) <= set(own)}
    finite = [number for number, values in accuracies.items() if values and all(map(math.isfinite, values))]
    if not set(first) <= set(finite):
        return complete, list(first), np.zeros((len(first), 0))
    ranked = complete.loc[finite].sort_values(["value", "number"], ascending=[False, True], kind="stable")
    looks = np.array([accuracies[number] for number in ranked.index])
    near = ranked[ranked["value"] >= ranked["value"].max() - _reach(ranked["value"].to_numpy(float), looks)]
    thinned = near.index[:: math.ceil(len(near) / MOST)]
    chosen = list(dict.fromkeys([*first, *thinned]))
    return complete, chosen, np.array([accuracies[number] for number in chosen])


def _reach(ranked: Array, looks: Array) -> float:
    """How far below the best a trial may be and still say something about what happens near it.

    Args:
        ranked: values of the trials, the best first.
        looks: their accuracies on test, trials by seeds.
    """
    # What seeds do near the best: elsewhere a setting that diverged on one of them would pass for noise everywhere.
    n_best = max(int((ranked >= ranked[0] - FAR).sum()), 3)
    noise, freedom = noise_of_a_seed(looks[:n_best])
    if freedom:
        return max(FAR, 10 * noise)
    reach = FAR  # widened from the best on, as half of a search may be hopeless
    while (wider := typical_reach(ranked[ranked >= ranked[0] - reach])) > reach:
        reach = wider
    return reach


def typical_reach(values: Array) -> float:
    """How far below the best the trials lie that are no outliers, told by their values alone.

    Of values that are all the same but for noise the middle one is about two standard deviations below the best of two
    dozen, so that this cuts off none of them, nor most of a smooth response. To leave out what noise put low would make
    the others look surer and the reference better than they are: in simulations 87 to 92 % of 95 % intervals at twice
    the distance held, and 91 to 97 % of these.

    Of values that tie each counts once, lest a top that half of the trials reach leaves nothing but itself.
    """
    distinct = np.unique(values)
    return TYPICAL * float(distinct[-1] - np.median(distinct))


def by_seed(seeds: Sequence[int], values: Sequence[float]) -> dict[int, float]:
    """Values by seed; empty where there are not as many, so that they cannot be told apart."""
    return dict(zip(seeds, values, strict=True)) if len(seeds) == len(values) else {}
