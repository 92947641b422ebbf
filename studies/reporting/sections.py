"""The sections that every report has: the pairs, the trials one by one, what they cost, and where they come from."""

from studies import tables
from studies.reporting.section import Block, Evidence, Section, Source, Terms, Text
from studies.reporting.trial_figures import curves, parameters
from studies.reporting.wording import verdict


def pairs_section(evidence: Evidence) -> Section:
    """Each pair's verdict in a sentence, and what selection saw."""
    analysis = evidence.analysis
    blocks: list[Block] = [Terms(tuple((pair.label, verdict(pair)) for pair in analysis.pairs))]
    if analysis.params:
        blocks += [
            tables.selection_table(analysis),
            Text(
                "The gain on validation is what selection saw, and is too high on average: the winner of many trials "
                "is partly the luckiest. The difference on test still has some of that luck.",
                "note",
            ),
        ]
    return Section("verdicts", "Pair by pair", "Pair by pair", tuple(blocks))


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


def curves_section(evidence: Evidence) -> Section:
    """Validation accuracy by epoch."""
    drawing = curves(evidence.frame, evidence.analysis)
    missing = Text("No trial has finished two epochs, so there are no curves.", "missing")
    return Section("curves", "Learning curves", "Learning curves", (drawing or missing,))


def cost_section(evidence: Evidence) -> Section:
    """FLOPs and seconds of reference and best."""
    table = tables.cost_table(evidence.analysis)
    blocks: tuple[Block, ...] = (Text("No trial has finished, so there is no cost to tell.", "missing"),)
    if table.rows:
        blocks = (
            table,
            Text(
                "FLOPs of convolutions and linear layers from the final masks, one multiply-accumulate as two. "
                "Training is counted for a sample and step, averaged over topology updates, as a multiple of training "
                "the dense network as long.",
                "note",
            ),
        )
    return Section("cost", "Cost", "Cost", blocks)


def trials_section(evidence: Evidence) -> Section:
    """How many trials there are in each state."""
    note = Text(
        "“Pruned” trials were stopped early, “retried” ones died and were taken over by another. All of them are in "
        "trials.csv; the numbers of this page are in summary.json.",
        "note",
    )
    return Section("trials", "Trials", "Trials", (tables.counts_table(evidence.analysis), note))


def provenance_section(evidence: Evidence) -> Section:
    """Versions, devices and the specification."""
    specification = evidence.provenance.spec.model_dump_json(indent=2, exclude_defaults=True)
    blocks = (tables.provenance_table(evidence.frame, evidence.provenance), Source("Specification", specification))
    return Section("provenance", "Provenance", "Provenance", blocks)
