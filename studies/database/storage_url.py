"""Where results are stored: one URL, checked and normalised once, whose password cannot be printed by accident."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from rigl_core.paths import user_path
from studies.errors import BadInput, StorageUrlError

StorageKind = Literal["postgresql", "sqlite", "memory"]

_POSTGRES_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg2")
_SQLALCHEMY_SCHEME = "postgresql+psycopg2://"
_ALLOWED = (
    "Use postgresql://USER:PASSWORD@HOST:PORT/DATABASE (or sqlite:///PATH for one machine), "
    "with every special character of the password percent-encoded."
)
# libpq settings that are paths; libpq itself does not know what ~ is.
_PATHS = ("host", "passfile", "sslcert", "sslcrl", "sslcrldir", "sslkey", "sslrootcert")
# Those that are numbers, which libpq reads only once it has connected.
_NUMBERS = (
    *("connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
    "tcp_user_timeout",
)
_NOWHERE = "/nonexistent/rigl-study"
# libpq settings that have a place of their own in the URL; a second, contradicting value would win silently.
_NOT_IN_QUERY = frozenset({"user", "password", "dbname", "port", "hostaddr", "service"})


@dataclass(frozen=True)
class StorageUrl:
    """A storage URL that is known to be well formed. `str()` and `repr()` show *** for its password.

    Arguments:
        kind: "postgresql", "sqlite" (one machine, few workers) or "memory" (one process, for tests).
        shown: the URL without its secrets; this is what messages print.
        path: the absolute path of the SQLite file, else None.
        embedded_home: the `RIGL_STUDY_HOME` of the embedded Postgres this URL leads to, else None. Connections to
            it are routed to wherever that server runs now, and start it again when it is gone.
    """

    kind: StorageKind
    shown: str
    path: Path | None = None
    embedded_home: Path | None = field(default=None, compare=False)
    _secret: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> "StorageUrl":
        """Check and normalise a URL that a person typed.

        `postgres://`, `postgresql://` and `postgresql+psycopg2://` all become `postgresql+psycopg2://` for SQLAlchemy
        (2.1 takes the plain scheme for psycopg 3) and `postgresql://` for people. `sqlite:///relative` becomes
        absolute, so that a later change of the working directory does not change the meaning. Query parameters are
        libpq's (`sslmode`, `sslrootcert`, ...). `~` is the home folder where a path begins with it.

        Raises:
            StorageUrlError: the text is no URL of a storage the service uses. The message shows no secret.
        """
        if not text.strip():
            raise StorageUrlError(f"the storage URL is empty. {_ALLOWED}")
        if text == "memory://":
            return cls("memory", text, _secret=text)
        scheme, separator, rest = text.partition("://")
        scheme = scheme.lower()
        if not separator:
            raise _malformed(text, 'has no "scheme://" in front')
        if scheme == "sqlite":
            return cls._parse_sqlite(text, rest)
        if scheme not in _POSTGRES_SCHEMES:
            raise _malformed(text, "is of a kind that cannot hold a study")
        if re.search(r"[^\S ]|[\x00-\x1f\x7f]", text) or text.endswith(" "):
            raise _malformed(text, "contains a space or a control character; write it as %20 or the like")
        return cls._parse_postgres(text)

    @classmethod
    def _parse_sqlite(cls, text: str, rest: str) -> "StorageUrl":
        name = rest.removeprefix("/")
        if name == rest or not name or name != name.strip() or name.endswith("/"):
            raise _malformed(text, "names no file; sqlite:///name.db is relative, sqlite:////dir/name.db absolute")
        if name == ":memory:" or name.startswith("file:"):
            raise _malformed(text, "names no file; what lives in memory is lost with the process")
        name = str(_expanded(text, name))
        # Versions of SQLAlchemy disagree on percent-encoding here, so no meaning of it is offered.
        if re.search(r"[?#%\x00-\x1f\x7f]", name):
            raise _malformed(text, "has one of ? # % in its path, which a SQLite URL cannot carry")
        path = Path(name).absolute()
        url = f"sqlite:///{path}"
        return cls("sqlite", url, path=path, _secret=url)

    @classmethod
    def _parse_postgres(cls, text: str) -> "StorageUrl":
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:  # its text may quote the password of a URL that was cut in the wrong place
            reason = 'has a bad host or port (or its password has an unencoded "/", "?", "#", "[" or "]")'
            raise _malformed(text, reason) from None
        if port == 0:
            raise _malformed(text, "has port 0; a port is between 1 and 65535")
        if parts.fragment or text.endswith("#"):
            raise _malformed(text, 'has an unencoded "#"; write it as %23')
        if " " in parts.netloc or " " in parts.query:
            raise _malformed(text, "contains a space; write it as %20")
        user, password = _credentials(text, parts)
        database = parts.path.removeprefix("/")
        if not database:
            raise _malformed(text, "names no database")
        if re.search(r"[/@:]", database):
            raise _malformed(text, "has a database name with one of / @ : in it; write %2F, %40 or %3A")
        database = quote(_decoded(text, database), safe="")
        query = _libpq_options(text, parts.query)
        host = _host(text, parts, query)

        def assemble(password: str | None) -> str:
            login = "" if user is None else quote(user, safe="")
            login += "" if password is None else f":{password}"
            where = f"{login}@{host}" if login else host
            where += "" if port is None else f":{port}"
            options = "&".join(f"{name}={quote(value, safe='/')}" for name, value in query)
            return f"{where}/{database}" + (f"?{options}" if options else "")

        secret = assemble(None if password is None else quote(password, safe=""))
        shown = assemble(None if password is None else "***")
        shown = re.sub(r"(password=)[^&]*", r"\1***", shown)  # sslpassword
        return cls("postgresql", f"postgresql://{shown}", _secret=f"{_SQLALCHEMY_SCHEME}{secret}")

    @property
    def lacks_password(self) -> bool:
        """Whether it leads to a Postgres server and says no password."""
        login, at, _ = self._secret.partition("://")[2].partition("@")
        return self.kind == "postgresql" and not (at and ":" in login)

    def with_password(self, password: str) -> "StorageUrl":
        """The same URL with a password, for one that `lacks_password`.

        Args:
            password: as it is, not percent-encoded.

        Raises:
            StorageUrlError: the URL names no user whose password it could be.
        """
        scheme, _, rest = self._secret.partition("://")
        user, at, where = rest.partition("@")  # a later "@" would be percent-encoded
        if not at:
            raise _malformed(self.shown, "names no user, whose password a file holds; write USER@ before the host")
        return replace(
            self,
            shown=self.shown.replace("@", ":***@", 1),
            _secret=f"{scheme}://{user}:{quote(password, safe='')}@{where}",
        )

    def without_password(self) -> str:
        """The URL without its password, for where others can read it, and a file holds the password."""
        scheme, _, rest = self._secret.partition("://")
        login, at, where = rest.rpartition("@")
        return f"{scheme}://{login.partition(':')[0]}{at}{where}"

    def secret(self) -> str:
        """The URL with its password, for handing to a database driver. Never print, log or store it."""
        return self._secret

    def revealed(self) -> str:
        """The URL with its password, for psql and whoever else does not know SQLAlchemy; as secret as `secret()`."""
        return self._secret.replace(_SQLALCHEMY_SCHEME, "postgresql://", 1)

    def __str__(self) -> str:
        return self.shown

    def __repr__(self) -> str:
        return f"StorageUrl({self.shown!r})"


def _credentials(text: str, parts: SplitResult) -> tuple[str | None, str | None]:
    login, at, _ = parts.netloc.rpartition("@")
    if not at:
        return None, None
    user, colon, password = login.partition(":")
    if "@" in login:
        raise _malformed(text, 'has an unencoded "@" in its password; write it as %40')
    if not user:
        raise _malformed(text, "has a password but no user" if password else "has an empty user name")
    return _decoded(text, user), _decoded(text, password) if colon else None


def _decoded(text: str, part: str) -> str:
    """A part of the URL, what is percent-encoded in it as it is."""
    if re.search(r"%(?![0-9a-fA-F]{2})|%00", part):
        raise _malformed(text, 'has a "%" that begins no percent-encoded character; write "%" as %25')
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise _malformed(text, "has percent-encoded bytes that are not UTF-8") from None


def _expanded(text: str, path: str) -> Path:
    """A path of the URL, `~` replaced."""
    try:
        return user_path(path)
    except BadInput as error:
        raise _malformed(text, f"has a path that cannot be: {str(error).rstrip('.')}") from None


def _libpq_options(text: str, query: str) -> list[tuple[str, str]]:
    from psycopg2 import ProgrammingError
    from psycopg2.extensions import make_dsn

    if "@" in query:  # the end of a password with an unencoded "?"; libpq's complaint would quote it
        raise _malformed(text, 'has an unencoded "@" after its question mark; write "?" as %3F and "@" as %40')
    try:
        options = parse_qsl(query, strict_parsing=True, keep_blank_values=True) if query else []
        make_dsn(**dict(options))  # libpq itself says which names it knows
    except ValueError:
        raise _malformed(text, "has a query that is not name=value&name=value") from None
    except ProgrammingError as error:
        raise _malformed(text, f"has a query libpq does not understand ({str(error).strip()})") from None
    names = [name for name, _ in options]
    if len(set(names)) < len(names):
        raise _malformed(text, "gives one query parameter twice")
    if clash := sorted(_NOT_IN_QUERY.intersection(names)):
        raise _malformed(text, f"has {clash[0]} among its query parameters; give it before the question mark")
    options = [(k, str(_expanded(text, v)) if k in _PATHS and v.startswith("~") else v) for k, v in options]
    _check_values(text, dict(options))
    return options


def _check_values(text: str, options: dict[str, str]) -> None:
    """Refuse values that libpq would refuse at every attempt to connect; nothing is connected to."""
    import psycopg2

    for name in _NUMBERS:
        if options.get(name) and not re.fullmatch(r"[-+]?[0-9]{1,9}", options[name]):
            raise _malformed(text, f'has {name}="{options[name]}", which is no whole number')
    # Of other machines and users nothing is asked: all that libpq would take from the environment is given.
    there = {"user": "nobody", "password": "-", "dbname": "-", "hostaddr": "", "port": "5432"}
    try:
        psycopg2.connect(**{**options, **there, "host": _NOWHERE}).close()
    except psycopg2.OperationalError as error:
        if _NOWHERE not in str(error):  # else all values are right, and there is no server
            raise _malformed(text, f"is refused by libpq ({str(error).strip()})") from None


def _host(text: str, parts: SplitResult, query: list[tuple[str, str]]) -> str:
    host = parts.netloc.rpartition("@")[2]
    host = re.sub(r":[0-9]*$", "", host)
    if host and any(name == "host" for name, _ in query):
        raise _malformed(text, "names two hosts; ?host= is for a socket directory, with no host before it")
    if not host and not any(name == "host" and value.startswith("/") for name, value in query):
        raise _malformed(text, "names no host")
    if host and not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", host):
        raise _malformed(text, "has a bad host name")
    return host


def _malformed(text: str, reason: str) -> StorageUrlError:
    return StorageUrlError(f'the storage URL "{redact(text)}" {reason}. {_ALLOWED}')


def redact(text: str) -> str:
    """What may be shown of a text that was meant to be a storage URL but is not one.

    Nobody knows where the password is in a URL that cannot be parsed, so whatever might be one is hidden: all between
    the scheme and the last "@", anything but digits after a ":", and all that follows the word "password".
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "", text
    if "@" in rest:
        rest = "***@" + rest.rpartition("@")[2]
    rest = re.sub(r":(?!\d{0,5}(?:[/?]|$)|memory:).*", ":***", rest, flags=re.DOTALL)
    rest = re.sub(r"(pass\w*).*", r"\1***", rest, flags=re.DOTALL | re.IGNORECASE)
    return "".join(c if c.isprintable() else "?" for c in f"{scheme}{separator}{rest}")
