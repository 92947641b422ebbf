"""The sections that every report has: the pairs, the trials one by one, and where they come from."""

from studies import tables
from studies.reporting import contained
from studies.reporting.result_words import sentence
from studies.reporting.section import Block, Evidence, Section, Source, Terms, Text
from studies.reporting.trial_figures import curves, parameters


@contained.section("verdicts", "Pair by pair")
def pairs_section(evidence: Evidence) -> Section | None:
    """Each pair's result in a sentence, and what selection saw; None where there was nothing to choose."""
    analysis = evidence.analysis
    if analysis.params and not analysis.tuned:
        return None
    blocks: list[Block] = [Terms(tuple((pair.label, sentence(pair)) for pair in analysis.pairs))]
    if analysis.params and any(pair.best for pair in analysis.pairs):
        blocks += [
            tables.selection_table(analysis),
            Text(
                "The gain on validation is what selection saw, and is too high on average: the winner of many trials "
                "is partly the luckiest. The difference on test still has some of that luck.",
                "note",
            ),
        ]
    return Section("verdicts", "Pair by pair", "Pair by pair", tuple(blocks))


@contained.section("parameters", "Parameters against accuracy")
def parameters_section(evidence: Evidence) -> Section:
    """Searched parameters against validation accuracy, trial by trial."""
    blocks: list[Block] = []
    drawing = parameters(evidence.frame, evidence.analysis, evidence.provenance.spec.search)
    if drawing is not None:
        blocks.append(drawing)
    elif not evidence.analysis.params:
        blocks.append(Text("Nothing was searched.", "missing"))
    else:
        blocks.append(Text("No trial has reached a validation accuracy yet.", "missing"))
    ranking = tables.ranking_table(evidence.frame, evidence.analysis)
    if evidence.analysis.params and ranking.rows:
        blocks.append(ranking)
    return Section("parameters", "Parameters against accuracy", "Parameters", tuple(blocks))


@contained.section("curves", "Learning curves")
def curves_section(evidence: Evidence) -> Section:
    """Validation accuracy by epoch."""
    drawing = curves(evidence.frame, evidence.analysis)
    missing = Text("No trial has had two epochs, so there are no curves.", "missing")
    return Section("curves", "Learning curves", "Learning curves", (drawing or missing,))


@contained.section("provenance", "Provenance")
def provenance_section(evidence: Evidence) -> Section:
    """Versions, devices and the specification."""
    specification = evidence.provenance.spec.model_dump_json(indent=2, exclude_defaults=True)
    blocks = (tables.provenance_table(evidence.frame, evidence.provenance), Source("Specification", specification))
    return Section("provenance", "Provenance", "Provenance", blocks)
