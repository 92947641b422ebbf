"""The evidence of made-up campaigns, for the tests of its sections."""

from studies.analysis import analyse
from studies.reporting.section import Evidence
from studies.spec import StudySpec
from tests.studies.sample_campaign import Told
from tests.studies.sample_cases import CASES, load


def evidence_of(spec: StudySpec, trials: list[list[Told]]) -> Evidence:
    """What sections may look at."""
    frame, provenance = load(spec, trials)
    return Evidence(frame, analyse(frame, provenance.campaign, labels=provenance.labels), provenance)


def evidence_of_case(name: str) -> Evidence:
    """The same of one of `CASES`."""
    case = CASES[name]()
    return evidence_of(case.spec, case.trials)
