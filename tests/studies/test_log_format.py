import io
import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from studies import log_format
from studies.log_format import JsonFormatter, TextFormatter, noted


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("rigl_study.test_log_format")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield logger
    logger.handlers = []


def lines(logger: logging.Logger, formatter: logging.Formatter) -> Any:
    """A function that tells what was logged since `lines` was called."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger.handlers = [handler]
    return lambda: stream.getvalue().splitlines()


def test_a_json_line_says_when_what_and_all_that_is_known(logger: logging.Logger) -> None:
    told = lines(logger, JsonFormatter())
    with noted(campaign="c", study="c/s", trial=3):
        with noted(device="cpu"):
            logger.warning("epoch %d of %d: é", 2, 5, extra={"epoch": 2})
        logger.info("inner over")
    logger.info("outer over")
    first, second, third = map(json.loads, told())
    time = datetime.fromisoformat(first.pop("time"))
    assert time.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - time) < timedelta(minutes=1)
    assert first == {
        "level": "WARNING",
        "logger": "rigl_study.test_log_format",
        "message": "epoch 2 of 5: é",
        "campaign": "c",
        "study": "c/s",
        "trial": 3,
        "epoch": 2,
        "device": "cpu",
    }
    assert set(second) == {"time", "level", "logger", "message", "campaign", "study", "trial"}
    assert set(third) == {"time", "level", "logger", "message"}


def test_what_is_noted_stays(logger: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_format, "_fields", {})
    told = lines(logger, JsonFormatter())
    log_format.note(worker="host:1:abc")
    with noted(worker="other"):
        pass
    logger.info("x")
    assert json.loads(told()[0])["worker"] == "host:1:abc"


SECRET = "postgresql://ann:s3cr3t@db/study"


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter("[worker 0] ")], ids=["json", "text"])
def test_no_line_shows_a_password_or_breaks(logger: logging.Logger, formatter: logging.Formatter) -> None:
    told = lines(logger, formatter)
    logger.error("cannot reach %s\nnor\x1b[31m\x07 anything", SECRET)
    (line,) = told()
    text = json.loads(line)["message"] if line.startswith("{") else line.removeprefix("[worker 0] ")
    assert text == "cannot reach postgresql://ann:***@db/study nor\\x1b[31m\\x07 anything"


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter("")], ids=["json", "text"])
def test_a_traceback_comes_along_without_the_password(logger: logging.Logger, formatter: logging.Formatter) -> None:
    told = lines(logger, formatter)
    try:
        raise ValueError(SECRET)
    except ValueError:
        logger.critical("unexpected", exc_info=sys.exc_info())
    text = "\n".join(told())
    assert "s3cr3t" not in text
    assert "ValueError: postgresql://ann:***@db/study" in text
    assert len(told()) == 1 or not text.startswith("{")
