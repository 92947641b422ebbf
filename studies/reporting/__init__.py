"""The parts of the report: findings, wording, marks, figures, files."""
