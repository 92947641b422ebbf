"""`python -m studies` is `rigl-study`, for where the entry point is not on the path."""

from studies.cli import app

app()
