"""Whether pruning misled, in words: of a campaign's pairs, or of the one study of another program."""

import math
from collections.abc import Sequence

from studies.evidence.stopping import PairStopping, Verdict
from studies.evidence.stopping_figure import chance, likeliest
from studies.reporting.wording import count


def whether_misled(pairs: Sequence[PairStopping], found: Verdict, *, of_campaign: bool) -> str:
    """The verdict on trials that were stopped, as a sentence without its end.

    Args:
        pairs: with a stopped trial among them.
        found: the verdict on them.
        of_campaign: whether these are a campaign's pairs, which have names and accuracies.
    """
    stopped = [one for pair in pairs for one in pair.stopped]
    known = [one.forecast for one in stopped if one.forecast is not None]
    of = f"of {count(len(stopped), 'trial')} stopped early"
    likely = ""
    for pair, one, told in likeliest(pairs, 1):
        where = f"{pair.label}, " if of_campaign else ""
        likely = f"{where}trial {one.number}: {chance(told.chance, at_most=told.at_most)}"

    def best(whose: str) -> str:
        return f"the best of {whose} pair" if of_campaign else "the best"

    expected = math.fsum(told.chance for told in known)
    match found:
        case Verdict.MISLED:
            lost = sum(told.would_have_won for told in known)
            return f"Pruning misled: {of} {lost} would more likely than not have beaten {best('the')} ({likely})"
        case Verdict.DID_NOT:
            return f"Pruning did not mislead: {of} none is likely to have beaten {best('its')} ({likely})"
        case Verdict.MAY_HAVE if expected < 1:
            return (
                f"Pruning may have misled: the chance that {of} one would have beaten {best('its')} is up to "
                f"{chance(expected)} (the likeliest is {likely})"
            )
        case Verdict.MAY_HAVE:
            return (
                f"Pruning may have misled: {of} up to {expected:.2g} can be expected to have beaten {best('their')} "
                f"(the likeliest is {likely})"
            )
        case _:
            others = f" (the likeliest among the others is {likely})" if likely else ""
            value, ended = ("an accuracy", "trained") if of_campaign else ("a value", "that ran")
            return (
                f"Whether pruning misled cannot be told: nothing can be said of {len(stopped) - len(known)} {of}, "
                f"for want of {value} or of enough others {ended} to the end{others}"
            )
