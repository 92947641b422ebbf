"""Storage URLs: what is accepted, what is refused with a reason, and that no password is ever shown."""

import pickle
import string
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from studies.database.storage_url import StorageUrl, redact
from studies.errors import StorageUrlError

CANARY = "hunter2canary"

POSTGRES = [
    ("postgres://ann:pw@db/study", "postgresql+psycopg2://ann:pw@db/study"),
    ("postgresql://ann:pw@db/study", "postgresql+psycopg2://ann:pw@db/study"),
    ("postgresql+psycopg2://ann:pw@db/study", "postgresql+psycopg2://ann:pw@db/study"),
    ("POSTGRESQL://ann:pw@db/study", "postgresql+psycopg2://ann:pw@db/study"),
    ("postgresql://ann:pw@db:5433/study", "postgresql+psycopg2://ann:pw@db:5433/study"),
    ("postgresql://db.example.org/study", "postgresql+psycopg2://db.example.org/study"),  # PGPASSFILE, PGUSER
    ("postgresql://ann@db/study", "postgresql+psycopg2://ann@db/study"),
    ("postgresql://ann:@db/study", "postgresql+psycopg2://ann:@db/study"),
    ("postgresql://ann:a:b@db/study", "postgresql+psycopg2://ann:a%3Ab@db/study"),
    ("postgresql://ann:pw@[::1]:5432/study", "postgresql+psycopg2://ann:pw@[::1]:5432/study"),
    ("postgresql://my_db-1/my-study", "postgresql+psycopg2://my_db-1/my-study"),
    (
        "postgresql://db/study?sslmode=verify-full&sslrootcert=/etc/ssl/my%20ca.pem",
        "postgresql+psycopg2://db/study?sslmode=verify-full&sslrootcert=/etc/ssl/my%20ca.pem",
    ),
    ("postgresql://ann:pw@db/my study", "postgresql+psycopg2://ann:pw@db/my%20study"),
    ("postgresql://ann:pw@db/my%20study", "postgresql+psycopg2://ann:pw@db/my%20study"),
    ("postgresql://ann:pw@db/a%40b%2Fc%25d%3Fe%3Af", "postgresql+psycopg2://ann:pw@db/a%40b%2Fc%25d%3Fe%3Af"),
    ("postgresql://a%40b:p%2F%40%25@db/x", "postgresql+psycopg2://a%40b:p%2F%40%25@db/x"),
    (
        "postgresql://db/x?connect_timeout=5&keepalives_idle=",
        "postgresql+psycopg2://db/x?connect_timeout=5&keepalives_idle=",
    ),
    (
        "postgresql:///study?host=/run/postgresql",
        "postgresql+psycopg2:///study?host=/run/postgresql",
    ),
]

MALFORMED = [
    ("", "empty"),
    ("   ", "empty"),
    ("db.example.org", "scheme"),
    ("./study.db", "scheme"),
    ("host=db password=hunter2canary dbname=study", "scheme"),
    ("postgresql:/ann:hunter2canary@db/study", "scheme"),
    ("mysql://ann:hunter2canary@db/study", "kind"),
    ("redis://:hunter2canary@db/0", "kind"),
    ("journal:///study.log", "kind"),
    ("https://db/study", "kind"),
    ("postgresql+asyncpg://ann:hunter2canary@db/study", "kind"),
    ("postgresql://", "names no database"),
    ("postgresql://ann:hunter2canary@db", "names no database"),
    ("postgresql://ann:hunter2canary@db/", "names no database"),
    ("postgresql:///study", "names no host"),
    ("postgresql://ann:hunter2canary@/study", "names no host"),
    ("postgresql://ann:hunter2canary@:5432/study", "names no host"),
    ("postgresql://ann:hunter2canary/study", "bad host or port"),
    ("postgresql://ann:hunter2canary@db:54x/study", "bad host or port"),
    ("postgresql://ann:hunter2canary@db:99999/study", "bad host or port"),
    ("postgresql://ann:hunter2canary@db:0/study", "port 0"),
    ("postgresql://ann:hunter2canary@d b/study", "space"),
    ("postgresql://ann:hunter2canary@db/study\n", "control character"),
    (" postgresql://ann:hunter2canary@db/study", "kind"),
    ("postgresql://ann:hunter2@canary@db/study", "unencoded"),
    ("postgresql://ann:hunter2/canary@db/study", "unencoded"),
    ("postgresql://ann:hunter2?canary@db/study", "unencoded"),
    ("postgresql://ann:hunter2#canary@db/study", "unencoded"),
    ("postgresql://ann:hunter2[canary@db/study", "unencoded"),
    ("postgresql://ann:1/x?hunter2canary=y@db/study", "unencoded"),
    ("postgresql://ann:hunter2canary%@db/study", "%25"),
    ("postgresql://ann:hunter2canary%zz@db/study", "%25"),
    ("postgresql://ann:hunter2canary%00@db/study", "%25"),
    ("postgresql://ann:hunter2canary%ff@db/study", "UTF-8"),
    ("postgresql://:hunter2canary@db/study", "no user"),
    ("postgresql://@db/study", "empty user"),
    ("postgresql://ann:hunter2canary@d,b/study", "bad host name"),
    ("postgresql://ann:hunter2canary@db/study/more", "database name"),
    ("postgresql://ann:hunter2canary@db/stu%dy", "%25"),
    ("postgresql://ann:hunter2canary@db/study%ff", "UTF-8"),
    ("postgresql://ann:hunter2canary@db/study ", "space"),
    ("postgresql://ann:hunter2 canary@db/study", "space"),
    ("postgresql://ann:hunter2canary@db/study?sslrootcert=/my ca.crt", "space"),
    ("postgresql://ann:hunter2canary@db/a@b", "write %2F, %40 or %3A"),
    ("postgresql://ann:hunter2canary@db/study?sslmode=maybe", 'invalid sslmode value: "maybe"'),
    ("postgresql://ann:hunter2canary@db/study?target_session_attrs=x", "invalid target_session_attrs value"),
    ("postgresql://ann:hunter2canary@db/study?sslmode=require&sslrootcert=system", "weak sslmode"),
    ("postgresql://ann:hunter2canary@db/study?connect_timeout=abc", 'connect_timeout="abc", which is no whole number'),
    ("postgresql://ann:hunter2canary@db/study?tcp_user_timeout=1.5", "no whole number"),
    ("postgresql://ann@db/study?sslkey=~no-one/key", "no such home folder"),
    ("sqlite:///~no one/x.db", "no such home folder"),
    ("postgresql://ann:hunter2canary@db/study?sslmoode=require", "sslmoode"),
    ("postgresql://ann:hunter2canary@db/study?sslmode", "name=value"),
    ("postgresql://ann:hunter2canary@db/study?sslmode=require&sslmode=disable", "twice"),
    ("postgresql://ann@db/study?password=hunter2canary", "password"),
    ("postgresql://ann:hunter2canary@db/study?dbname=other", "dbname"),
    ("postgresql://ann:hunter2canary@db/study?host=/run", "two hosts"),
    ("postgresql://ann:hunter2canary@db/study#", "%23"),
    ("sqlite://", "names no file"),
    ("sqlite:///", "names no file"),
    ("sqlite://study.db", "names no file"),
    ("sqlite:///dir/", "names no file"),
    ("sqlite:///:memory:", "memory"),
    ("sqlite:///study.db?mode=ro", "path"),
    ("memory://x", "kind"),
]


@pytest.mark.parametrize(("text", "normalised"), POSTGRES)
def test_postgres_urls_are_normalised(text: str, normalised: str) -> None:
    url = StorageUrl.parse(text)
    assert url.kind == "postgresql"
    assert url.secret() == normalised
    assert StorageUrl.parse(url.secret()) == url


@pytest.mark.parametrize(("text", "reason"), MALFORMED)
def test_malformed_urls_are_refused_in_one_line_that_shows_no_secret(text: str, reason: str) -> None:
    with pytest.raises(StorageUrlError) as caught:
        StorageUrl.parse(text)
    message = str(caught.value)
    assert reason in message
    assert "postgresql://USER:PASSWORD@HOST:PORT/DATABASE" in message  # what would be right
    assert "\n" not in message
    assert "hunter2" not in message
    assert "canary" not in message
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_a_sqlite_path_does_not_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = StorageUrl.parse("sqlite:///my study.db")
    assert url.path == tmp_path / "my study.db"
    assert url == StorageUrl.parse(f"sqlite:///{tmp_path}/my study.db")
    assert sa.make_url(url.secret()).database == str(url.path)


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert StorageUrl.parse("sqlite:///~/x.db").path == tmp_path / "x.db"
    url = StorageUrl.parse("postgresql:///x?host=~/run&sslrootcert=~/ca.crt&application_name=~/x")
    asked = dict(sa.make_url(url.secret()).query)
    assert asked == {"host": f"{tmp_path}/run", "sslrootcert": f"{tmp_path}/ca.crt", "application_name": "~/x"}


def test_what_libpq_takes_from_the_environment_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGHOST": "db", "PGHOSTADDR": "203.0.113.1", "PGPORT": "x", "PGUSER": "ann"}.items():
        monkeypatch.setenv(name, value)
    assert StorageUrl.parse("postgresql://db/x?sslmode=disable").kind == "postgresql"


def test_memory_is_a_storage_of_its_own() -> None:
    assert StorageUrl.parse("memory://").kind == "memory"


def test_no_way_of_printing_shows_the_password() -> None:
    url = StorageUrl.parse(f"postgresql://ann:{CANARY}@db:5432/study?sslmode=require&sslpassword={CANARY}")
    for shown in (str(url), repr(url), f"{url}", f"{url!r}", str([url]), str({"url": url})):
        assert CANARY not in shown
    assert str(url) == "postgresql://ann:***@db:5432/study?sslmode=require&sslpassword=***"
    assert CANARY in url.secret()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://a%40b:p%3Aw@db:5432/x%2Fy?sslmode=require", "a%40b@db:5432/x%2Fy?sslmode=require"),
        ("postgresql://ann@db/x", "ann@db/x"),
        ("postgresql://db/x", "db/x"),
        ("postgresql:///x?host=/run/a%40b", "/x?host=/run/a%40b"),
    ],
)
def test_a_url_without_its_password_is_one_again(text: str, shown: str) -> None:
    without = StorageUrl.parse(text).without_password()
    assert without == f"postgresql+psycopg2://{shown}"
    assert StorageUrl.parse(without).secret() == without


def test_a_url_travels_to_other_processes_whole() -> None:
    url = StorageUrl.parse(f"postgresql://ann:{CANARY}@db/study")
    assert pickle.loads(pickle.dumps(url)).secret() == url.secret()  # noqa: S301 - our own


PASSWORDS = st.text(string.printable.replace("\0", ""), min_size=1) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1
)


@given(password=PASSWORDS, user=PASSWORDS, database=PASSWORDS)
def test_every_name_and_password_arrives_at_the_driver_as_it_was(password: str, user: str, database: str) -> None:
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    url = StorageUrl.parse(f"postgresql://{login}@db:5432/{quote(database, safe='')}")
    assert StorageUrl.parse(url.secret()) == url
    seen_by_driver = sa.make_url(url.secret())
    assert (seen_by_driver.username, seen_by_driver.password) == (user, password)
    assert (seen_by_driver.host, seen_by_driver.port, seen_by_driver.database) == ("db", 5432, database)
    assert "{" not in url.secret()  # Optuna would take it for a placeholder


@given(before=st.text(string.punctuation, max_size=4), after=st.text(string.punctuation, max_size=4))
def test_a_password_that_was_not_encoded_is_never_shown(before: str, after: str) -> None:
    text = f"postgresql://ann:{before}{CANARY}{after}@db/study"
    try:
        shown = str(StorageUrl.parse(text))
    except StorageUrlError as error:
        shown = str(error)
    assert CANARY not in shown


@given(st.text())
def test_any_text_is_a_url_or_refused_in_one_line(text: str) -> None:
    try:
        shown = str(StorageUrl.parse(text))
    except StorageUrlError as error:
        shown = str(error)
    assert shown.isprintable()
    assert redact(text).isprintable()
