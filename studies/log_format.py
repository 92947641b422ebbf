"""What log lines look like: text for people, or JSON for what collects logs. Standard library only.

What a process works on (campaign, study, trial, device, worker) is noted here once and goes into every JSON line, also
into those of threads and of modules that know nothing of it.
"""

import contextlib
import json
import logging
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from studies.printable import printable, printable_json

FIELDS = ("campaign", "study", "trial", "epoch", "device", "worker")
"""What a JSON line says besides time, level, logger and message, where it is known; also as `extra` of a log call."""

FORMATS = ("text", "json")

_fields: dict[str, object] = {}  # of the process: a worker trains one trial at a time


def note(**fields: object) -> None:
    """From now on, say this in every JSON line; keys are FIELDS."""
    _fields.update(fields)


@contextlib.contextmanager
def noted(**fields: object) -> Iterator[None]:
    """Say this in every JSON line while the body runs; keys are FIELDS."""
    before = dict(_fields)
    _fields.update(fields)
    try:
        yield
    finally:
        _fields.clear()
        _fields.update(before)


class TextFormatter(logging.Formatter):
    """One line a record, and the traceback below it if it has one.

    Arguments:
        prefix: begins every line.
    """

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        told = f"{self._prefix}{one_clean_line(record.getMessage())}"
        if not record.exc_info:
            return told
        return f"{told}\n{hide_passwords(printable(self.formatException(record.exc_info), keep=chr(10)))}"


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time (UTC, ISO 8601), level, logger, message, what is known of FIELDS, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        known = {**_fields, **{key: getattr(record, key) for key in FIELDS if hasattr(record, key)}}
        content: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": one_clean_line(record.getMessage()),
            **{key: known[key] for key in FIELDS if key in known},
        }
        if record.exc_info:
            content["traceback"] = hide_passwords(self.formatException(record.exc_info))
        return printable_json(json.dumps(content, ensure_ascii=False))


def log_to_stderr(formatter: logging.Formatter, logger: str, level: int) -> None:
    """Let `logger` (and all below it) write to stderr, as `formatter` says, and nowhere else."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    found = logging.getLogger(logger)
    found.handlers = [handler]
    found.setLevel(level)


def one_clean_line(text: str) -> str:
    """`text` without line breaks, control characters and passwords of URLs."""
    return hide_passwords(printable(" ".join(text.split())))


def hide_passwords(text: str) -> str:
    """`text` without passwords of URLs. Nothing should bring one this far."""
    # The example in the help on URLs stays as it is.
    return re.sub(r"(://[^:/@\s]*):(?!PASSWORD@)[^@\s]+@", r"\1:***@", text)
