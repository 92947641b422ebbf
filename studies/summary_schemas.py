"""The published JSON schema of summary.json: one for each kind of report that writes such a file."""

from typing import Any

from studies import comparison_report, foreign_files
from studies.reporting import summary
from studies.reporting.summary_schema import object_schema


def published_schema() -> dict[str, Any]:
    """The schema of every summary.json that `rigl-study report` writes."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "summary.json",
        "description": "What `rigl-study report` found, written beside the page for other programs.",
        "oneOf": [
            {"title": "of a campaign", **summary.schema()},
            {
                "title": "of an Optuna study that another program made",
                **foreign_files.schema(),
            },
            {
                "title": "of campaigns that are compared",
                **object_schema(comparison_report.KEYS, absent=comparison_report.ABSENT),
            },
        ],
    }
