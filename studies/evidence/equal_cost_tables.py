"""What there is to tell of distributions at equal cost."""

import math
from collections.abc import Sequence

from studies import names
from studies.evidence.equal_cost import EqualCost, OutOfReach
from studies.reporting.findings import Difference
from studies.reporting.section import Block, Text
from studies.reporting.wording import count, in_points, points
from studies.tables import Table

ONE_BY_ONE = 12
"""Up to so many comparisons are listed one by one, more of them by method; summary.json has all."""
SAID = 6
"""So many of the comparisons are named that cannot be made."""
TITLE = "Uniform and other distributions at equal cost, on test"


def at_equal_cost(compared: Sequence[EqualCost], out_of_reach: Sequence[OutOfReach]) -> list[Block]:
    """A uniform distribution against the others at equal cost; nothing where there is only one distribution."""
    if not compared and not out_of_reach:
        return []
    blocks: list[Block] = [Text(_distribution_finding(compared, out_of_reach), "finding")]
    if compared:
        blocks.append(_equal_cost_table(compared) if len(compared) <= ONE_BY_ONE else _methods_table(compared))
    if out_of_reach:
        said = "; ".join(one.sentence for one in out_of_reach[:SAID])
        more = f"; and {len(out_of_reach) - SAID} more" if len(out_of_reach) > SAID else ""
        blocks.append(Text(f"Cannot be said, as nothing was trained on both sides of the cost: {said}{more}.", "note"))
    blocks.append(
        Text(
            "Each setting is the best on validation at its sparsity. Where no sparsity of the other distribution costs "
            "the same (within 2 %), its accuracy is interpolated between the two around it, linearly in the logarithm "
            "of the cost, seed by seed.",
            "note",
        )
    )
    return blocks


def _equal_cost_table(compared: Sequence[EqualCost]) -> Table:
    rows = [
        (
            f"{names.method(one.method)}, {names.distribution(one.other)}",
            one.cost.noun,
            one.cost.shown(one.at),
            one.base_place,
            one.other_place,
            points(one.difference).removesuffix(" points"),
        )
        for one in compared
    ]
    base = _bases(compared)
    header = ("what", "equal", "at", base, "the other", f"the other minus {base}, points")
    return Table("equal-cost", TITLE, header, tuple(rows), frozenset({2, 5}))


def _methods_table(compared: Sequence[EqualCost]) -> Table:
    """The same where there are many: for each method and cost, over all its sparsities."""
    rows = []
    for method, other, cost in dict.fromkeys((one.method, one.other, one.cost) for one in compared):
        own = [c.difference for c in compared if (c.method, c.other, c.cost) == (method, other, cost)]
        means = [gap.mean for gap in own]
        shown = [in_points(value) for value in (math.fsum(means) / len(means), min(means), max(means))]
        rows.append(
            (
                f"{names.method(method)}, {names.distribution(other)}",
                cost.noun,
                str(len(own)),
                *shown,
                *map(str, _sure(own)),
            )
        )
    header = (
        *("what", "equal", "comparisons", f"the other minus {_bases(compared)}, points", "least", "most"),
        *("interval above 0", "interval below 0"),
    )
    return Table("equal-cost", TITLE, header, tuple(rows), frozenset(range(2, len(header))))


def _bases(compared: Sequence[EqualCost]) -> str:
    return " or ".join(dict.fromkeys(names.distribution(one.base) for one in compared))


def _sure(gaps: Sequence[Difference]) -> tuple[int, int]:
    """How many 95 % intervals are above 0, and how many below."""
    above = sum(gap.low is not None and gap.low > 0 for gap in gaps)
    return above, sum(gap.high is not None and gap.high < 0 for gap in gaps)


def _distribution_finding(compared: Sequence[EqualCost], out_of_reach: Sequence[OutOfReach]) -> str:
    said = []
    kinds = [(one.base, one.other, one.cost) for one in compared]
    kinds += [(one.base, one.other, one.cost) for one in out_of_reach]
    for base, other, cost in dict.fromkeys(kinds):
        one, than = names.distribution(other), names.distribution(base)
        own = [gap.difference for gap in compared if (gap.base, gap.other, gap.cost) == (base, other, cost)]
        if not own:
            said.append(f"at equal {cost.noun} nothing can be said of {one} and {than}")
            continue
        above, below = _sure(own)
        mean = in_points(math.fsum(gap.mean for gap in own) / len(own))
        ends = f"95 % interval above 0 in {above}, below in {below}"
        said.append(f"at equal {cost.noun} {one} minus {than} is {mean} points ({_over(len(own))}; {ends})")
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}."


def _over(n: int) -> str:
    return "one comparison" if n == 1 else f"mean of {count(n, 'comparison')}"
