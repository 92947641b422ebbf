"""The first screen of a campaign that compares methods: which differences are no chance, and what each method reached.

Methods are compared, not tuned: the best of them is no setting to be chosen, and a dense network is not even sparse. It
is the line above, which the others try to reach.
"""

from collections.abc import Sequence

from studies import names
from studies.evidence.arms import luck_words, rank
from studies.evidence.methods import finding, is_question
from studies.evidence.methods_compared import MethodsAt, methods_of
from studies.evidence.methods_figure import accuracies
from studies.reporting.section import Block, Evidence, Text
from studies.reporting.wording import NOT_KNOWN, percent
from studies.tables import Table


def answer(evidence: Evidence) -> str | None:
    """What is sure about the methods, in a sentence; None where they are not the question, or none has finished."""
    found = _asked(evidence)
    finished = _names(found)
    if len(finished) > 1:
        return finding(found, _reference(evidence))
    return (
        f"Only {'; '.join(map(names.method, finished))} is complete, so there is nothing to compare it with yet."
        if finished
        else None
    )


def first_screen(evidence: Evidence) -> tuple[Block, ...]:
    """A table and a figure of all methods; nothing where there are not two to compare."""
    found = _asked(evidence)
    if len(_names(found)) < 2:
        return ()
    drawing = accuracies([arm for at in found for arm in at.arms])
    return (_table(found), Text(_note(found), "note"), *([drawing] if drawing else []))


def _asked(evidence: Evidence) -> Sequence[MethodsAt]:
    return methods_of(evidence) if is_question(evidence.provenance.spec) else ()


def _names(found: Sequence[MethodsAt]) -> set[str]:
    return {arm.name for at in found for arm in at.arms}


def _reference(evidence: Evidence) -> object:
    return (evidence.provenance.spec.strategy.reference or {}).get("method")


def _table(found: Sequence[MethodsAt]) -> Table:
    """A row a method, a column a sparsity and distribution."""
    arms = sorted((arm for at in found for arm in at.arms), key=rank)
    rows = []
    for name in dict.fromkeys(arm.name for arm in arms):
        is_reference = any(arm.name == name and arm.reference is not None for arm in arms)
        called = names.method(name)
        rows.append((f"{called} (reference)" if is_reference else called, *(_cell(at, name) for at in found)))
    header = ("method", *(at.place for at in found))
    return Table("reached", "Test accuracy of each method, in %", header, tuple(rows), frozenset(range(1, len(header))))


def _cell(at: MethodsAt, name: str) -> str:
    """What a method reached at a place, "92.5 ± 0.2*" where it is sure to differ from the reference."""
    own = next((arm for arm in at.arms if arm.name == name), None)
    if own is None:
        return NOT_KNOWN
    references = {arm.name for arm in at.arms if arm.reference is not None}
    differs = any(c.counts and name in (c.method, c.other) and {c.method, c.other} & references for c in at.comparisons)
    star = "*" if differs and name not in references else ""
    return percent(own.trained.test_accuracy).removesuffix(" %") + star


def _note(found: Sequence[MethodsAt]) -> str:
    arms = [arm for at in found for arm in at.arms]
    parts = ["± is the standard deviation over seeds."]
    if any(arm.reference is not None for arm in arms):
        parts.append("A star: differs from the reference by more than chance explains (see Methods side by side).")
    if any(arm.n_compared > 1 for arm in arms):
        luck = luck_words([at.arms for at in found])
        parts.append(f"Of each method the best setting on validation; test accuracy was read afterwards.{luck}")
    if any(arm.method == "dense" for arm in arms):
        parts.append("The dense network is no choice at any sparsity: it is the line that the others are held against.")
    return " ".join(parts)
