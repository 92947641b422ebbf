"""Whatever is wrong with a command line, it is one clear line on stderr, and nothing is written anywhere."""

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

import studies.__main__
import studies.catalogue
from studies.catalogue import catalogue_text
from studies.cli import app
from studies.database.storage_url import StorageUrl

ENTRY = "fashion-lenet-smoke"
SECRET = "s3cr3t"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RIGL_STUDY_DEBUG", "")


def invoke(*arguments: str, env: dict[str, str] | None = None) -> Any:
    return CliRunner(env=env).invoke(app, arguments)


def refused(*arguments: str, told: str, env: dict[str, str] | None = None) -> None:
    before = sorted(Path().rglob("*"))
    done = invoke(*arguments, env=env)

    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert done.stderr.startswith("rigl-study: ")
    assert done.stderr.count("\n") == 1
    assert told in done.stderr
    assert SECRET not in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(Path().rglob("*")) == before


SPECS = {
    "no value": ("name =", "not valid TOML"),
    "not closed": ("[fixed", "not valid TOML"),
    "no name": ("[fixed]\nepochs = 1", "name"),
    "two names": ('name = "a"\nname = "b"\n', "line 2"),
    "no trials": (catalogue_text(ENTRY).replace("n_trials = 2", ""), "strategy.n_trials is missing"),
    "no such trials": (catalogue_text(ENTRY).replace("n_trials = 2", "n_trials = -1"), "strategy.n_trials = -1"),
    "words for numbers": (catalogue_text(ENTRY).replace("epochs = 1", 'epochs = "many"'), "epochs = 'many'"),
    "unknown section": (catalogue_text(ENTRY) + "\n[extras]\na = 1", 'unknown key "extras"'),
    "unknown key": (catalogue_text(ENTRY).replace("epochs", "epoch"), 'Did you mean "epochs"'),
    "key of another section": (catalogue_text(ENTRY) + "\nepochs = 2", 'in [strategy] "epochs"'),
    "unknown method": (catalogue_text(ENTRY).replace('"rigl"', '"riggle"'), 'Did you mean "rigl"'),
    "unknown model": (catalogue_text(ENTRY).replace("lenet_300_100", "lenet"), 'Did you mean "lenet_300_100"'),
    "unknown data": (catalogue_text(ENTRY).replace("fashion_mnist", "fashion"), 'Did you mean "fashion_mnist"'),
    "unknown distribution": (catalogue_text(ENTRY).replace('"erk"', '"ekr"'), 'Did you mean "erk"'),
    "unknown sampler": (catalogue_text(ENTRY).replace('"tpe"', '"tpee"'), 'Did you mean "tpe"'),
    "unknown pruner": (catalogue_text(ENTRY).replace('"median"', '"medan"'), 'Did you mean "median"'),
    "sparsity 1": (catalogue_text(ENTRY).replace("0.98]", "1.0]"), "sparsity = 1.0"),
    "box upside down": (catalogue_text(ENTRY).replace("low = 0.01", "low = 0.5"), "search.lr: low = 0.5"),
    "corner": (catalogue_text(ENTRY).replace("high = 0.6", "high = 1.6"), "alpha = 1.6"),
    "reference outside": (catalogue_text(ENTRY).replace("alpha = 0.3", "alpha = 0.05"), "outside the search"),
    "log of zero": (catalogue_text(ENTRY).replace("low = 0.01", "low = 0.0"), "log = true"),
    "not a number": (catalogue_text(ENTRY).replace("high = 0.6", "high = nan"), "finite"),
    "bad name": (catalogue_text(ENTRY).replace('name = "fash', 'name = "a/fash'), "letters, digits"),
    "grid of a range": (catalogue_text(ENTRY).replace('"tpe"', '"grid"').replace("n_trials = 2", ""), "continuous"),
}


@pytest.mark.parametrize(("text", "told"), SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("command", ["create", "run"])
def test_a_malformed_study_is_refused(command: str, text: str, told: str) -> None:
    Path("study.toml").write_text(text)

    refused(command, "study.toml", "--storage", "sqlite:///new.db", told=told)


URLS = {
    "empty": ("", "empty"),
    "no scheme": ("study.db", "scheme"),
    "another kind": (f"mysql://me:{SECRET}@host/db", "cannot hold a study"),
    "http": ("http://localhost/", "cannot hold a study"),
    "no database": (f"postgresql://me:{SECRET}@host", "names no database"),
    "no host": ("postgresql:///db", "names no host"),
    "bad port": (f"postgresql://me:{SECRET}@host:port/db", "bad host or port"),
    "open @": (f"postgresql://me:{SECRET}@x@host/db", "%40"),
    "open #": (f"postgresql://me:{SECRET}#x@host/db", "postgresql://"),
    "open %": (f"postgresql://me:{SECRET}%zz@host/db", "%25"),
    "bad option": (f"postgresql://me:{SECRET}@host/db?ssl=on", "libpq"),
    "a space": (f"postgresql://me:{SECRET}@a host/db", "space"),
    "no file": ("sqlite://", "names no file"),
    "in memory": ("sqlite:///:memory:", "in memory is lost"),
    "memory": ("memory://", "lost when this command ends"),
    "no folder": ("sqlite:///missing/study.db", "missing; make it first"),
}


@pytest.mark.parametrize(("url", "told"), URLS.values(), ids=URLS)
def test_a_malformed_url_is_refused(url: str, told: str) -> None:
    refused("create", ENTRY, "--storage", url, told=told)
    refused("status", "--storage", url, told=told)
    if url:
        refused("list", told=told, env={"RIGL_STUDY_STORAGE": url})


ARGUMENTS: dict[str, tuple[list[str], str]] = {
    "no such command": (["craete"], "No such command 'craete'. Did you mean 'create'? See: "),
    "no such option": (["create", ENTRY, "--sett", "a=1"], "No such option"),
    "no spec": (["create"], "Missing argument"),
    "too many": (["create", ENTRY, "more"], "unexpected extra argument"),
    "no such entry": (["create", "fashion-lenet-ful"], 'Did you mean "fashion-lenet-full"'),
    "no such file": (["run", "missing.toml"], "there is no such file"),
    "set without value": (["create", ENTRY, "--set", "strategy.n_trials"], "not KEY=VALUE"),
    "set without anything": (["create", ENTRY, "--set"], "requires an argument"),
    "set of many lines": (["create", ENTRY, "--set", "name=a\nb"], "more than one line"),
    "bad --name": (["create", ENTRY, "--name", "a b"], "letters, digits"),
    "bad fallback": (["create", ENTRY, "--fallback-dataset", "digit"], 'Did you mean "digits"'),
    "no workers": (["run", ENTRY, "--workers", "0"], "--workers"),
    "words for workers": (["work", "--workers", "two"], "1 to 1024, or auto"),
    "very many workers": (["work", "--workers", "1025"], "1 to 1024, or auto"),
    "many on SQLite": (["run", ENTRY, "--workers", "2", "--storage", "sqlite:///new.db"], "takes one worker"),
    "device": (["run", ENTRY, "--device", "gpu"], "use auto, cpu, cuda"),
    "precision": (["work", "--precision", "float23"], 'Did you mean "float32"'),
    "train: precision": (["train", "--precision", "half"], "Known: auto, float32, bfloat16"),
    "train: compile": (["train", "--compile", "--device", "cpu"], "for CUDA GPUs only, and this is a cpu"),
    "max trials": (
        ["work", "--max-trials", "0"],
        "--max-trials = '0': it must be 1 or more. See: rigl-study work --help",
    ),
    "no such storage": (["status", "--storage", "sqlite:///missing.db"], "there is no such file"),
    "work on nothing": (["work", "--storage", "sqlite:///missing.db"], "there is no such file"),
    "no campaign": (["report", "--storage", "sqlite:///missing.db"], "report takes one of"),
    "watch nothing": (["status", "--watch"], "--watch needs"),
    "bad trial": (["show", "x", "rigl-s0.9-erk"], "not STUDY/NUMBER"),
    "bad trial number": (["retry", "x", "rigl-s0.9-erk/-1"], "not STUDY/NUMBER"),
    "foreign digits": (["show", "x", "rigl-s0.9-erk/٣"], "not STUDY/NUMBER"),
    "bad port": (["dashboard", "--port", "99999"], "--port"),
    "no host": (["dashboard", "--allowed-host", "https://x"], "--allowed-host is"),
    "bad timeout": (["storage", "wait", "--timeout", "soon"], "--timeout"),
    "no subcommand": (["storage"], "Missing command"),
    "catalogue": (["catalogue", "show", "lenet"], "unknown catalogue entry"),
    "data": (["data", "fetch", "mnist"], 'Did you mean "fashion_mnist"'),
    "train: method": (["train", "--method", "rigk"], 'Did you mean "rigl"'),
    "train: sparsity": (["train", "--sparsity", "1"], "sparsity = 1.0"),
    "train: seeds": (["train", "--seeds", "0,x"], "whole numbers"),
    "train: twice": (["train", "--seeds", "0,0"], "may appear once"),
    "train: setting": (["train", "--set", "epochz=3"], 'Did you mean "epochs"'),
    "train: said twice": (["train", "--lr", "0.1", "--set", "lr=0.2"], "--lr says it too; leave one of them out"),
    "train: value": (["train", "--set", "momentum=fast"], "momentum = 'fast'"),
    "train: for ever": (["train", "--epochs", f"1{23 * '0'}"], "a trial would need at least"),
    "train: source": (["train", "--distribution", "from:a/b#0"], "write it below [fixed] of a study file"),
    "train: masks": (["train", "--set", "masks=from:a/b#0"], "write it below [fixed] of a study file"),
    "train: recipe": (["train", "--recipe", "cifar1"], 'Did you mean "cifar10"'),
}


@pytest.mark.parametrize(("arguments", "told"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_malformed_arguments_are_refused(arguments: list[str], told: str) -> None:
    refused(*arguments, told=told)


def test_a_refused_study_leaves_no_trace_in_postgres(empty_postgres_url: StorageUrl) -> None:
    url = sa.make_url(empty_postgres_url.secret())
    for text, told in SPECS.values():
        Path("study.toml").write_text(text)
        refused("create", "study.toml", "--storage", empty_postgres_url.secret(), told=told)

    where = url.translate_connect_args(username="user", database="dbname")
    with closing(psycopg2.connect(**where)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'")
        assert cursor.fetchone() == (0,)


def test_the_unexpected_is_one_line_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError(f"lost\nat postgresql://me:{SECRET}@host/db")

    monkeypatch.setattr(studies.catalogue, "catalogue_entries", fail)
    done = invoke("catalogue", "list")

    assert done.exit_code == 1
    assert done.stderr.startswith("rigl-study: unexpected ValueError: lost at postgresql://me:***@host/db.")
    assert "--debug" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("arguments", "env"), [(["--debug"], {}), ([], {"RIGL_STUDY_DEBUG": "1"})])
def test_debug_brings_the_traceback(arguments: list[str], env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies.catalogue, "catalogue_entries", lambda: 1 / 0)
    done = invoke(*arguments, "catalogue", "list", env=env)

    assert done.exit_code == 1
    assert "Traceback" in done.stderr
    assert "unexpected ZeroDivisionError" in done.stderr.splitlines()[-1]


def test_ctrl_c_is_one_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(studies.catalogue, "catalogue_entries", interrupt)
    done = invoke("catalogue", "list")

    assert (done.exit_code, done.stderr) == (130, "rigl-study: interrupted\n")


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-m", "studies", "catalogue", "show", ENTRY],
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write_end)

    assert done.stderr == ""


def test_bytes_that_are_no_text_are_still_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "studies", "create", b"\xff\n\x1b[31m.toml"], capture_output=True, check=False
    )

    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"\x1b" not in done.stderr


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_closed_stream_leads_nowhere(
    closed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, closed, None)
    with pytest.raises(SystemExit) as ended:
        app(["catalogue", "show", "nope"])
    getattr(sys, closed).close()
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert ("unknown catalogue entry" in err) == (closed == "stdout")


def test_ctrl_c_while_the_program_is_being_loaded_is_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupting:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "studies.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "studies.cli")
    monkeypatch.setattr(sys, "meta_path", [Interrupting, *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        studies.__main__.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "rigl-study: interrupted\n"


@pytest.mark.parametrize("arguments", [["data", "list"], ["data", "list", "--json"]])
def test_a_letter_that_the_terminal_lacks_costs_no_result(arguments: list[str]) -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-m", "studies", *arguments], capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    if "--json" in arguments:
        assert "28×28 grey" in json.loads(done.stdout)[0]["summary"]
    else:
        assert b"28?28 grey" in done.stdout
