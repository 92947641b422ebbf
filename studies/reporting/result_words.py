"""What a campaign's analysis comes to, in words: a clause, a sentence and a line a pair, and the answer of all pairs.

The same in the terminal, the report and the captions. Plain text, no markup.
"""

import math
from collections import Counter

from studies import names
from studies.box import UNSEEN, Box
from studies.gain import FEWEST, MOST_SEEDS, Gain
from studies.reporting.findings import Analysis, Difference, PairResult, Setting, Verdict
from studies.reporting.wording import count, decimals, interval, listed, percent, points, seeds, setting, signed

NAMED = 3
"""So many pairs in which tuning pays have their names in the answer; all are in the table below it."""


def claim(pair: PairResult) -> str:
    """What reference and best come to, in a clause: "the best found gains 0.5 points (…): it pays"."""
    said = _claim(pair)
    return f"{said} (provisional: {_unfinished(pair.n_unfinished)})" if pair.is_provisional else said


def _claim(pair: PairResult) -> str:
    gain, margin = pair.gain, f"{100 * pair.margin:g}"
    if pair.verdict is Verdict.DOES_NOT_PAY and pair.box is not None and pair.box.high is not None:
        most = f"{100 * max(pair.box.high, 0):.2f}"
        return (
            f"no setting of the box gains more than {most} points (upper end of a 95 % interval): tuning does not pay "
            f"at a margin of {margin}"
        )
    if pair.verdict is Verdict.REFERENCE_IS_BEST and pair.box is not None:
        return f"no better setting was found among {pair.box.n_tried}{left(pair.box)}"
    assert gain is not None
    digits = decimals(gain.std)
    if pair.verdict is Verdict.UNDECIDED:
        needed = _settled_by(gain, pair.margin) if pair.counts["complete"] >= FEWEST else ""
        return f"the best found gains {interval(gain)} points (95 % interval): undecided{needed}"
    mean = signed(100 * gain.mean, digits).removeprefix("+")
    found = f"the best found gains {mean} points (95 % interval {interval(gain)})"
    if pair.verdict is Verdict.PAYS:
        return f"{found}: it pays"
    return f"{found}, less than the margin of {margin}{_unseen(pair.box)}"


def left(box: Box) -> str:
    """What may be better in a box in which nothing better was found, in a clause that goes on a sentence."""
    if not box.better_share:
        return ", and these are all others of the box"
    return (
        f"; better ones may still make up {share_in_words(box.better_share)} of the box (with 95 % confidence, had the "
        "trials been drawn at random)"
    )


def share_in_words(share: float) -> str:
    """A share as a whole number of percent, and a small one with a digit more; never 100 % for less than all."""
    return f"{100 * share:.0f} %" if 0.1 <= share < 0.995 else f"{100 * share:.1f} %"


def _unseen(box: Box | None) -> str:
    """Why a gain below the margin is not the last word on the box."""
    if box is None:
        return ""
    if box.out_of_sight > UNSEEN:
        return f"; better ones may be left: {share_in_words(box.out_of_sight)} of the box is far from every trial"
    return "; better ones may be left between the trials"


def _unfinished(n: int) -> str:
    return f"{count(n, 'trial')} {'is' if n == 1 else 'are'} waiting or running"


def _settled_by(gain: Gain, margin: float) -> str:
    """What it would take to decide, in a clause that goes on a sentence."""
    n = gain.more_seeds(margin)
    if n is not None:
        return f", about {count(n, 'more seed')} would settle it"
    if math.isnan(gain.noise):
        return ", with one seed it cannot be told how many would settle it"
    return f", it would take more than {count(MOST_SEEDS, 'more seed')} to settle it"


CLAIMS = (Verdict.PAYS, Verdict.DOES_NOT_PAY, Verdict.NOTHING_FOUND, Verdict.UNDECIDED, Verdict.REFERENCE_IS_BEST)
"""Verdicts that say what tuning brought."""


def headline(analysis: Analysis) -> str:
    """One line a pair: the reference, the best and what lies between them."""
    return "\n".join(pair_headline(pair) for pair in analysis.pairs)


def pair_headline(pair: PairResult) -> str:
    """One line: reference, best and what lies between them, all on test; or why there is nothing to say."""
    if pair.best is None:
        return f"{pair.label}: {verdict(pair)}"
    if pair.verdict is Verdict.NOT_SEARCHED:
        return f"{pair.label}: {percent(pair.best.test_accuracy)} test over {seeds(pair.best.test_accuracy.n)}"
    parts = [f"reference {_reached(pair.reference)} test"] if pair.reference else []
    if pair.verdict is Verdict.ONLY_REFERENCE:
        return f"{pair.label}: {parts[0]}; nothing else is complete"
    if pair.reference is not None and pair.best.number == pair.reference.number:
        return f"{pair.label}: {parts[0]}; {claim(pair)}"
    best = "best" if pair.verdict is not Verdict.NOT_TUNED else "highest"
    parts.append(
        f"{best} of {pair.n_compared} on validation {_reached(pair.best)}" + ("" if pair.reference else " test")
    )
    if pair.verdict is Verdict.NOT_TUNED:
        return f"{pair.label}: {'; '.join(parts)}"
    if pair.verdict in CLAIMS:
        parts.append(claim(pair))
    elif pair.test_difference is not None:
        gap = pair.test_difference
        parts.append(f"difference {points(gap)} over {seeds(gap.n)} ({_why_no_interval(gap)})")
    else:
        said = verdict(pair).rstrip(".")
        parts.append(f"{said[0].lower()}{said[1:]}")
    return f"{pair.label}: " + "; ".join(parts)


def verdict(pair: PairResult) -> str:
    """What the pair's trials allow to say, in one sentence."""
    if pair.verdict in CLAIMS:
        said = claim(pair)
        return f"{said[0].upper()}{said[1:]}."
    gap = pair.test_difference
    where = f"{points(gap)} on test over {seeds(gap.n)}" if gap else ""
    match pair.verdict:
        case Verdict.NO_INTERVAL if gap and gap.n == 1:
            return f"Not enough to tell: {where}; one seed gives no interval, so this may be chance."
        case Verdict.NO_INTERVAL if gap and gap.low is None:
            return f"Not enough to tell: {where}, the same on every seed, which gives no usable interval."
        case Verdict.NO_INTERVAL:
            return f"Too few trials to say: {where}."
        case Verdict.ONLY_REFERENCE:
            return "Nothing to compare: only the reference is complete."
        case Verdict.NOT_SEARCHED if pair.best:
            reached = pair.best.test_accuracy
            return f"Nothing was searched: the one setting reached {percent(reached)} on test over {seeds(reached.n)}."
        case Verdict.NOT_TUNED if pair.best:
            varied = listed(list(map(names.words, pair.best.params)))
            return f"Nothing was tuned: trials differ in {varied} alone, that is in what is trained."
        case Verdict.NO_REFERENCE:
            return f"No comparison: {_why_no_reference(pair)}."
        case Verdict.NO_TEST:
            return f"No comparison: {_why_no_test(pair)}."
        case _:
            return f"Nothing to compare: {_why_nothing(pair)}."


def _why_no_interval(gap: Difference) -> str:
    return "no interval" if gap.low is None else "too few trials to say"


def sentence(pair: PairResult) -> str:
    """What reference and best reach, and what the difference comes to; the verdict alone where there is no gain."""
    if pair.gain is None or pair.reference is None or pair.best is None:
        return verdict(pair)
    reference, best = (
        f"({setting(one.params)}) reaches {percent(one.test_accuracy)}" for one in (pair.reference, pair.best)
    )
    return f"The reference {reference} on test, the best of {pair.n_compared} on validation {best}; {claim(pair)}."


def answer(analysis: Analysis) -> str:
    """The campaign's result in one sentence or two."""
    if len(analysis.pairs) == 1:
        [pair] = analysis.pairs
        said = sentence(pair)
        return said if pair.gain is None else f"At {pair.label} {said[0].lower()}{said[1:]}"
    n = len(analysis.pairs)
    tally = Counter(pair.verdict for pair in analysis.pairs)
    waits = analysis.n_unfinished and any(tally[kind] for kind in CLAIMS)
    provisional = f" Provisional: {_unfinished(analysis.n_unfinished)}." if waits else ""
    for kind, text in _UNANIMOUS.items():
        if tally[kind] == n:
            shares = [pair.box.better_share for pair in analysis.pairs if pair.box is not None]
            most = share_in_words(max(shares, default=1.0))
            return text.format(margin=f"{100 * analysis.margin:g}", share=most) + provisional
    paid = tally[Verdict.PAYS]
    lead = f"Tuning pays in {paid} of {n} pairs" if paid else f"Tuning is not shown to pay in any of {n} pairs"
    told = [f"{_where(analysis, kind)} {text}" for kind, text in _IN_PAIRS.items() if tally[kind]]
    return f"{lead}: {'; '.join(told)}.{provisional}"


def _where(analysis: Analysis, kind: Verdict) -> str:
    """The pairs with this verdict: by name where they are few and tuning pays in them, else how many."""
    labels = [pair.label for pair in analysis.pairs if pair.verdict is kind]
    return f"at {listed(labels)}" if kind is Verdict.PAYS and len(labels) <= NAMED else f"in {len(labels)},"


_UNANIMOUS = {
    Verdict.NOTHING_COMPLETE: "No trial is complete, so there is nothing to compare yet.",
    Verdict.NOT_SEARCHED: "Nothing was searched: the table shows what the one setting of each pair reached.",
    Verdict.NOT_TUNED: "Nothing was tuned: trials differ in what is trained, which the sections below compare.",
    Verdict.NO_REFERENCE: "No pair has a complete reference, so what tuning gained cannot be told.",
    Verdict.REFERENCE_IS_BEST: (
        "No better setting was found in any pair; better ones may still make up {share} of a box (with 95 % "
        "confidence, had the trials been drawn at random)."
    ),
    Verdict.ONLY_REFERENCE: "Only the reference of each pair is complete, so there is nothing to compare yet.",
    Verdict.DOES_NOT_PAY: (
        "Tuning does not pay: in no pair does a setting of the box gain the margin of {margin} points (95 % intervals)."
    ),
    Verdict.NOTHING_FOUND: (
        "In no pair does the best found gain the margin of {margin} points (95 % intervals); the boxes may hold better "
        "settings."
    ),
    Verdict.UNDECIDED: (
        "Undecided: no pair has seeds enough to show that the best found gains, nor that it gains less than {margin} "
        "points."
    ),
    Verdict.PAYS: ("Tuning pays in every pair: the 95 % interval of what the best found gains on test lies above 0."),
}
_IN_PAIRS = {
    Verdict.PAYS: "the 95 % interval of what the best found gains on test lies above 0",
    Verdict.DOES_NOT_PAY: "no setting of the box gains the margin (95 % intervals)",
    Verdict.NOTHING_FOUND: "the best found gains less than the margin, and the box may hold better",
    Verdict.UNDECIDED: "more seeds are needed to tell",
    Verdict.NO_INTERVAL: "there are too few trials or seeds to say",
    Verdict.REFERENCE_IS_BEST: "no better setting was found, and the box may hold some",
    Verdict.ONLY_REFERENCE: "only the reference is complete",
    Verdict.NO_REFERENCE: "there is no complete reference",
    Verdict.NO_TEST: "valid test accuracies are missing",
    Verdict.NOT_SEARCHED: "nothing was searched",
    Verdict.NOT_TUNED: "nothing was tuned",
    Verdict.NOTHING_COMPLETE: "no trial is complete",
}


def _reached(trained: Setting) -> str:
    what = setting(trained.params)
    shown = percent(trained.test_accuracy)
    return f"({what}) {shown}" if what else shown


def _why_no_reference(pair: PairResult) -> str:
    if pair.reference_state is None:
        return "no trial has the parameters of a reference"
    told = {"waiting": "is still waiting", "running": "is still running", "pruned": "was stopped early"}
    return f"the reference {told.get(pair.reference_state, 'failed')}"


def _why_nothing(pair: PairResult) -> str:
    counts = {state: n for state, n in pair.counts.items() if n}
    if not counts:
        return "there are no trials"
    return "no trial is complete (" + ", ".join(f"{n} {state}" for state, n in counts.items()) + ")"


def _why_no_test(pair: PairResult) -> str:
    """Why best and reference cannot be compared on test."""
    roles = (("best", pair.best), ("reference", pair.reference))
    missing = [role for role, trained in roles if trained is not None and not trained.test_by_seed]
    broken = [role for role, trained in roles if trained and any(map(math.isnan, trained.test_by_seed.values()))]
    if missing:
        who = "neither best nor reference has a" if missing[1:] else f"the {missing[0]} has no"
        return f"{who} test accuracy"
    if broken:
        who = "best and reference each have" if broken[1:] else f"the {broken[0]} has"
        return f"{who} a test accuracy that is not a number"
    return "best and reference have no seed in common"
