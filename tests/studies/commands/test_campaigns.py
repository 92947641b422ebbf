"""The commands that look at campaigns and steer them, on SQLite and without training."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from typer.testing import CliRunner

import studies.commands.campaigns
from rigl_core.data import find
from rigl_core.errors import DataUnavailable
from studies.cli import app
from studies.commands.fallback import with_available_dataset
from studies.database.storage_url import StorageUrl
from studies.spec_file import load_spec
from studies.tickets import TicketQueue

SPEC = """
name = "tiny"
[fixed]
dataset = "digits"
epochs = 1
[pairs]
sparsity = [0.5, 0.9]
distribution = "erk"
[search]
lr = { low = 0.01, high = 0.3, log = true }
[strategy]
n_trials = 2
seeds = [0]
reference = { lr = 0.1 }
"""
STATUS_KEYS = ["name", "waiting", "running", "complete", "pruned", "failed", "retried", "best"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, sqlite_url: StorageUrl, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RIGL_STUDY_STORAGE", str(sqlite_url))
    Path("tiny.toml").write_text(SPEC)
    handlers = logging.getLogger("rigl_study").handlers
    yield
    logging.getLogger("rigl_study").handlers = handlers


def invoke(*arguments: str, input: str | None = None) -> Any:
    return CliRunner().invoke(app, arguments, input=input)


def succeed(*arguments: str) -> str:
    done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    return str(done.stdout)


def status(name: str = "tiny") -> Any:
    return json.loads(succeed("status", name, "--json"))


@pytest.fixture
def failed(opened: Callable[..., Any]) -> str:
    """A trial of "tiny" that failed."""
    succeed("create", "tiny.toml")
    storage = opened(StorageUrl.parse("sqlite:///study.db"))
    ticket = TicketQueue.open(storage, "tiny/rigl-s0.5-erk").claim("me")
    assert ticket is not None
    ticket.fail(ValueError("out of luck"))
    return "rigl-s0.5-erk/0"


def test_create_stores_the_campaign_and_prints_its_name() -> None:
    assert succeed("create", "tiny.toml") == "tiny\n"

    found = status()
    assert list(found) == ["campaign", "state", "studies"]
    assert found["campaign"] == "tiny"
    assert found["state"] == "waiting"
    assert [list(study) for study in found["studies"]] == [STATUS_KEYS, STATUS_KEYS]
    assert [study["name"] for study in found["studies"]] == ["tiny/rigl-s0.5-erk", "tiny/rigl-s0.9-erk"]
    assert [study["waiting"] for study in found["studies"]] == [2, 2]


def test_what_is_hardly_meant_is_said_and_done_all_the_same() -> None:
    done = invoke("create", "tiny.toml", "--set", "fixed.delta_t=1000")
    assert (done.exit_code, done.stdout) == (0, "tiny\n")
    assert done.stderr.startswith("rigl-study: at delta_t = 1000 the masks of rigl never change")


def test_creating_the_same_again_changes_nothing_and_another_is_refused() -> None:
    succeed("create", "tiny.toml")
    succeed("create", "tiny.toml")
    done = invoke("create", "tiny.toml", "--set", "strategy.n_trials=3")

    assert done.exit_code == 2
    assert "strategy.n_trials is 2 there and 3 here" in done.stderr
    assert [study["waiting"] for study in status()["studies"]] == [2, 2]


def test_a_campaign_can_be_adjusted_and_renamed() -> None:
    assert succeed("create", "tiny.toml", "--name", "other", "--set", "pairs.sparsity=[0.7]") == "other\n"
    assert [study["name"] for study in status("other")["studies"]] == ["other/rigl-s0.7-erk"]


def test_tables_for_people_name_every_campaign_and_study() -> None:
    succeed("create", "tiny.toml")

    assert succeed("list").splitlines()[1].split()[:3] == ["tiny", "waiting", "2"]
    assert succeed("status") == succeed("list")
    assert [line.split()[0] for line in succeed("status", "tiny").splitlines()[2:]] == [
        "rigl-s0.5-erk",
        "rigl-s0.9-erk",
    ]


def test_lists_for_scripts() -> None:
    succeed("create", "tiny.toml")

    assert json.loads(succeed("list", "--json"))[0]["name"] == "tiny"
    assert json.loads(succeed("status", "--json")) == [status()]


def test_a_campaign_that_was_half_created_does_not_hide_the_others(opened: Callable[..., Any]) -> None:
    for name in ("half", "whole"):
        succeed("create", "tiny.toml", "--name", name)
    storage = opened(StorageUrl.parse("sqlite:///study.db"))
    storage.delete_study(storage.get_study_id_from_name("half/rigl-s0.9-erk"))

    half, whole = json.loads(succeed("status", "--json"))
    assert (half["campaign"], half["state"]) == ("half", "incomplete")
    assert [study["name"] for study in half["studies"]] == ["half/rigl-s0.5-erk"]
    assert whole == status("whole")
    assert "the creation of campaign half was interrupted: 1 of its 2 studies" in invoke("status", "half").stderr


def test_nothing_stored_is_said_on_stderr_and_lists_are_empty() -> None:
    succeed("create", "tiny.toml")
    succeed("delete", "tiny", "--yes")
    done = invoke("list")

    assert (done.exit_code, done.stdout) == (0, "")
    assert "nothing is stored yet" in done.stderr
    assert json.loads(succeed("list", "--json")) == []


def test_pause_stop_and_resume_show_in_the_status() -> None:
    succeed("create", "tiny.toml")
    seen = []
    for command in ("pause", "stop", "resume"):
        succeed(command, "tiny")
        seen.append(status()["state"])

    assert seen == ["paused", "stopped", "waiting"]


def test_run_does_not_override_a_pause() -> None:
    succeed("create", "tiny.toml")
    succeed("pause", "tiny")
    done = invoke("run", "tiny.toml")

    assert done.exit_code == 2
    assert "`rigl-study resume tiny`" in done.stderr


def test_show_tells_why_a_trial_failed(failed: str) -> None:
    found = json.loads(succeed("show", "tiny", failed, "--json"))

    assert found["state"] == "failed"
    assert found["params"] == {"lr": 0.1}
    assert "out of luck" in found["error"]
    assert found["value"] is None
    for_people = succeed("show", "tiny", failed)
    assert "out of luck" in for_people
    [started] = [line for line in for_people.splitlines() if line.startswith("started ")]
    assert started.endswith(f" {found['started']} UTC"), "by the database's clock"


@pytest.mark.parametrize("named", ["tiny/rigl-s0.5-erk/0", "tiny/rigl-s0.5-erk#0", "rigl-s0.5-erk#0"])
def test_a_trial_may_be_named_as_other_commands_print_it(failed: str, named: str) -> None:
    assert succeed("show", "tiny", named) == succeed("show", "tiny", failed)
    assert succeed("retry", "tiny", named) == "rigl-s0.5-erk/2\n"


def test_retry_queues_a_failed_trial_again(failed: str) -> None:
    assert succeed("retry", "tiny", failed) == "rigl-s0.5-erk/2\n"

    study = status()["studies"][0]
    assert (study["waiting"], study["failed"], study["retried"]) == (2, 0, 1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["show", "tiny", "rigl-s0.5-erk/9"], "has no trial 9; it has 2"),
        (["show", "tiny", "rigl-s0.5-er/0"], 'Did you mean "rigl-s0.5-erk"'),
        (["show", "tini", "rigl-s0.5-erk/0"], 'no campaign "tini"'),
        (["retry", "tiny", "rigl-s0.5-erk/0"], "only a failed or pruned one"),
        (["retry", "tiny", "rigl-s0.5-erk/9"], "has no trial 9"),
        (["retry", "tiny", "rigl/0"], "unknown study of tiny"),
        (["pause", "tini"], 'no campaign "tini"'),
        (["delete", "tini", "--yes"], 'no campaign "tini"'),
        (["delete", "tini"], 'no campaign "tini"'),
        (["status", "tini"], 'no campaign "tini"'),
        (["report", "tini"], 'no campaign "tini"'),
        (["work", "tini"], 'no campaign "tini"'),
        (["work", "tiny", "--campaign", "tini"], 'no campaign "tini"'),
        (["work", "--workers", "2"], "takes one worker"),
    ],
    ids=" ".join,
)
def test_what_is_not_there_or_not_possible_is_refused(arguments: list[str], told: str) -> None:
    succeed("create", "tiny.toml")
    before = status()
    done = invoke(*arguments)

    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert told in done.stderr
    assert status() == before
    assert not Path("reports").exists()


def test_work_on_nothing_is_refused() -> None:
    succeed("create", "tiny.toml")
    succeed("delete", "tiny", "--yes")
    done = invoke("work")

    assert done.exit_code == 2
    assert "nothing is stored yet" in done.stderr


def test_delete_without_a_terminal_wants_yes() -> None:
    succeed("create", "tiny.toml")
    done = invoke("delete", "tiny")

    assert done.exit_code == 2
    assert "--yes" in done.stderr
    assert status()["campaign"] == "tiny"


@pytest.mark.parametrize(("answer", "exit_code", "left"), [("n\n", 1, 1), ("y\n", 0, 0)])
def test_delete_on_a_terminal_asks(answer: str, exit_code: int, left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    succeed("create", "tiny.toml")
    monkeypatch.setattr(studies.commands.campaigns, "_may_ask", lambda: True)
    done = invoke("delete", "tiny", input=answer)

    assert done.exit_code == exit_code
    assert len(json.loads(succeed("list", "--json"))) == left


def test_the_fallback_is_taken_with_a_word_where_the_data_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(*_: object) -> str:
        raise DataUnavailable("no network")

    monkeypatch.setattr(find, "status", lambda name, _: None if name == "cifar10" else "here")
    monkeypatch.setattr(find, "fetch", unavailable)
    options = ["--set", "fixed.dataset=cifar10", "--set", "fixed.train_size=1297", "--fallback-dataset", "digits"]
    done = invoke("create", "tiny.toml", *options)

    assert done.exit_code == 0
    assert "cifar10 is neither on this machine nor to be had" in done.stderr.splitlines()[0]
    assert "digits instead, for" in done.stderr.splitlines()[0]
    succeed("create", "tiny.toml")  # the same campaign as with digits from the start


@pytest.mark.parametrize(("fallback", "n_train"), [("digits", 1_297), ("synthetic", 2_000)])
def test_the_fallback_trains_for_as_many_steps(fallback: str, n_train: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "status", lambda *_: None)
    monkeypatch.setattr(find, "fetch", Mock(side_effect=DataUnavailable("no network")))
    told: list[str] = []
    spec = load_spec("fashion-lenet-full")
    changed = with_available_dataset(spec, fallback, None, told.append)

    assert changed.fixed["dataset"] == fallback
    assert changed.fixed["epochs"] * n_train == pytest.approx(spec.fixed["epochs"] * 55_000, rel=0.01)
    assert f"for {changed.fixed['epochs']} epochs" in told[0]


def test_the_fallback_is_not_taken_where_the_data_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "status", lambda *_: "here")
    done = invoke("create", "tiny.toml", "--set", "fixed.dataset=cifar10", "--fallback-dataset", "digits")

    assert done.exit_code == 0
    assert "instead" not in done.stderr
    assert invoke("create", "tiny.toml").exit_code == 2
