"""What a campaign's analysis comes to, in words: a clause, a sentence and a line a pair, and the answer of all pairs.

The same in the terminal, the report and the captions. Plain text, no markup.
"""

import math
from collections import Counter

from studies import names
from studies.gain import MOST_SEEDS, Gain
from studies.reporting.findings import Analysis, PairResult, Setting, Verdict
from studies.reporting.wording import count, decimals, interval, listed, percent, points, seeds, setting

NAMED = 3
"""So many pairs in which tuning pays have their names in the answer; all are in the table below it."""


def claim(pair: PairResult) -> str:
    """What the gain of a pair comes to, in a clause: "tuning gains at least 0.3 points: it pays"."""
    gain = pair.gain
    assert gain is not None
    digits = decimals(gain.std)
    margin = f"{100 * pair.margin:g}"
    match pair.verdict:
        case Verdict.PAYS:
            least = f"{100 * gain.at_least:.{digits}f}"
            return (
                f"tuning gains {100 * gain.mean:.{digits}f} points, with 95 % confidence at least {least}: it pays"
                if float(least)
                else f"tuning gains {100 * gain.mean:.{digits}f} points, with 95 % confidence more than 0: it pays"
            )
        case Verdict.DOES_NOT_PAY:
            most = f"{100 * max(gain.at_most, 0):.{max(digits, 2)}f}"
            gains = f"at most {most} points" if float(most) else "nothing"
            return f"with 95 % confidence tuning gains {gains}: not worth it at a margin of {margin}"
        case _:
            return f"tuning gains {interval(gain)} points (95 % interval): undecided, {_settled_by(gain, pair.margin)}"


def _settled_by(gain: Gain, margin: float) -> str:
    """What it would take to decide, in a clause."""
    n = gain.more_seeds(margin)
    if n is not None:
        return f"about {count(n, 'more seed')} would settle it"
    if math.isnan(gain.noise):
        return "with one seed it cannot be told how many would settle it"
    return f"it would take more than {count(MOST_SEEDS, 'more seed')} to settle it"


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
        return f"{pair.label}: {parts[0]}; nothing else has finished"
    if pair.verdict is Verdict.REFERENCE_IS_BEST:
        return f"{pair.label}: {parts[0]}; also the best of {pair.n_compared} on validation"
    best = "best" if pair.verdict is not Verdict.NOT_TUNED else "highest"
    parts.append(
        f"{best} of {pair.n_compared} on validation {_reached(pair.best)}" + ("" if pair.reference else " test")
    )
    if pair.verdict is Verdict.NOT_TUNED:
        return f"{pair.label}: {'; '.join(parts)}"
    if pair.gain is not None:
        parts.append(claim(pair))
    elif pair.test_difference is not None:
        gap = pair.test_difference
        parts.append(f"difference {points(gap)} over {seeds(gap.n)} (no interval)")
    else:
        said = verdict(pair).rstrip(".")
        parts.append(f"{said[0].lower()}{said[1:]}")
    return f"{pair.label}: " + "; ".join(parts)


def verdict(pair: PairResult) -> str:
    """What the pair's trials allow to say, in one sentence."""
    if pair.gain is not None:
        said = claim(pair)
        return f"{said[0].upper()}{said[1:]}."
    gap = pair.test_difference
    where = f"{points(gap)} on test over {seeds(gap.n)}" if gap else ""
    match pair.verdict:
        case Verdict.NO_INTERVAL if gap and gap.n == 1:
            return f"Not enough to tell: {where}; one seed gives no interval, so this may be chance."
        case Verdict.NO_INTERVAL:
            return f"Not enough to tell: {where}, the same on every seed, which gives no usable interval."
        case Verdict.REFERENCE_IS_BEST:
            return f"Nothing beat the reference on validation among {count(pair.n_compared, 'trial')}."
        case Verdict.ONLY_REFERENCE:
            return "Nothing to compare: only the reference has finished."
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
    for kind, text in _UNANIMOUS.items():
        if tally[kind] == n:
            return text.format(margin=f"{100 * analysis.margin:g}")
    paid = tally[Verdict.PAYS]
    lead = f"Tuning pays in {paid} of {n} pairs" if paid else f"Tuning is not shown to pay in any of {n} pairs"
    told = [f"{_where(analysis, kind)} {text}" for kind, text in _IN_PAIRS.items() if tally[kind]]
    return f"{lead}: {'; '.join(told)}."


def _where(analysis: Analysis, kind: Verdict) -> str:
    """The pairs with this verdict: by name where they are few and tuning pays in them, else how many."""
    labels = [pair.label for pair in analysis.pairs if pair.verdict is kind]
    return f"at {listed(labels)}" if kind is Verdict.PAYS and len(labels) <= NAMED else f"in {len(labels)},"


_UNANIMOUS = {
    Verdict.NOTHING_COMPLETE: "No trial has finished its training, so there is nothing to compare yet.",
    Verdict.NOT_SEARCHED: "Nothing was searched: the table shows what the one setting of each pair reached.",
    Verdict.NOT_TUNED: "Nothing was tuned: trials differ in what is trained, which the sections below compare.",
    Verdict.NO_REFERENCE: "No pair has a finished reference, so what tuning gained cannot be told.",
    Verdict.REFERENCE_IS_BEST: "Tuning does not pay: nothing beat the reference on validation in any pair.",
    Verdict.ONLY_REFERENCE: "Only the reference of each pair has finished, so there is nothing to compare yet.",
    Verdict.DOES_NOT_PAY: (
        "Tuning does not pay: in every pair it gains, with 95 % confidence, less than the margin of {margin} points."
    ),
    Verdict.UNDECIDED: "Undecided: no pair has seeds enough to show a gain, nor that it is below {margin} points.",
    Verdict.PAYS: "Tuning pays in every pair: it gains test accuracy with 95 % confidence.",
}
_IN_PAIRS = {
    Verdict.PAYS: "it gains test accuracy with 95 % confidence",
    Verdict.DOES_NOT_PAY: "it gains less than the margin with 95 % confidence",
    Verdict.UNDECIDED: "more seeds are needed to tell",
    Verdict.NO_INTERVAL: "there are too few seeds for an interval",
    Verdict.REFERENCE_IS_BEST: "nothing beat the reference on validation",
    Verdict.ONLY_REFERENCE: "only the reference has finished",
    Verdict.NO_REFERENCE: "there is no finished reference",
    Verdict.NO_TEST: "valid test accuracies are missing",
    Verdict.NOT_SEARCHED: "nothing was searched",
    Verdict.NOT_TUNED: "nothing was tuned",
    Verdict.NOTHING_COMPLETE: "no trial has finished",
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
    return "no trial has finished its training (" + ", ".join(f"{n} {state}" for state, n in counts.items()) + ")"


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
