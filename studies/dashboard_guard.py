"""Which requests the dashboard answers: it has no login, so the web pages that its user opens must not reach it.

Two ways lead there. A page of another site can point its own name at this machine (DNS rebinding); the browser then
sends that name as Host. And a page can send requests to the dashboard from where it is; the browser then says where
that is in Origin or Referer.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from studies.errors import BadInput

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

OWN_ADDRESS = "rigl_study.own_address"
"""Key of the environment: the address at which a connection arrived, which is the server's own."""

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{0,5}))?")
_ORIGIN = re.compile(r"(https?)://([^/?#]*)", re.IGNORECASE)
_DEFAULT_PORTS = ("", "80", "443")
_READING = ("GET", "HEAD", "OPTIONS")
_DRAINED = 2**16


@dataclass(frozen=True)
class Host:
    """A host with its port, as a request names it.

    Attributes:
        name: in lower case, without a dot at its end; addresses in their shortest form, without brackets.
        port: None for those of HTTP and HTTPS. Which of the two is not known behind a proxy.
    """

    name: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The host that a header names; None for any other text, such as one with a user name."""
        found = _HOST.fullmatch(text)
        if found is None:
            return None
        name, port = found[1].lower().removesuffix("."), found[2] or ""
        if name.startswith("["):
            try:
                name = str(ipaddress.IPv6Address(name[1:-1]))
            except ValueError:
                return None
        return cls(name, None if port in _DEFAULT_PORTS else int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether it means the machine itself, wherever it is asked."""
        try:
            return self.name == "localhost" or ipaddress.ip_address(self.name).is_loopback
        except ValueError:
            return False

    def allows(self, other: "Host") -> bool:
        """Whether `other` is this host, at this port where this has one."""
        return self.name == other.name and self.port in (None, other.port)


def allowed_hosts(texts: Iterable[str]) -> list[Host]:
    """What a user wrote as `--allowed-host`.

    Arguments:
        texts: NAME or NAME:PORT each.

    Raises:
        BadInput: a text that names no host, such as a URL or a pattern.
    """
    hosts = []
    for text in texts:
        host = Host.parse(text)
        if host is None:
            raise BadInput(
                f'--allowed-host is "{text}"; give a host as it stands in the address bar, NAME or NAME:PORT, for '
                "example studies.example.org."
            )
        hosts.append(host)
    return hosts


class Guard:
    """An application that answers only requests to its own hosts, and from its own pages.

    Its own are localhost and the addresses of loopback, the address at which a request arrived, `host`, and `allowed`.
    What proxies say of the host in headers of their own (X-Forwarded-Host) counts for nothing: anyone can send it.

    Arguments:
        application: answers what is let through.
        host: what the server was told to listen on.
        allowed: further hosts, those of proxies; see `allowed_hosts`.
    """

    def __init__(self, application: "WSGIApplication", host: str, allowed: Iterable[Host] = ()) -> None:
        self._application = application
        listening = Host.parse(f"[{host}]" if ":" in host else host)
        self._own = [] if listening is None else [listening]
        self._allowed = list(allowed)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer, or refuse with 400, 403 or 421 and one plain line."""
        environ.pop("HTTP_X_FORWARDED_HOST", None)  # Optuna's redirects would go there
        refusal = self._refusal(environ)
        if refusal is None:
            return self._application(environ, start_response)
        _drain(environ)
        status, reason = refusal
        text = f"rigl-study: {reason}\n".encode()
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")]
        start_response(status, [*headers, ("Content-Length", str(len(text)))])
        return [text]

    def _refusal(self, environ: "WSGIEnvironment") -> tuple[str, str] | None:
        given = environ.get("HTTP_HOST", "")
        if not given:
            return "400 Bad Request", "the request names no host."
        host = Host.parse(given)
        if host is None or not self._is_own(host, environ):
            hint = "" if host is None else f" If that is a proxy of yours: --allowed-host {host.name}."
            return "421 Misdirected Request", f"this dashboard does not answer to the host {given[:200]!a}.{hint}"
        for header, origin in _senders(environ):
            if not self._is_from(origin, host):
                return "403 Forbidden", f"the request comes from another site ({header}: {origin[:200]!a})."
        return None

    def _is_own(self, host: Host, environ: "WSGIEnvironment") -> bool:
        own = [*self._own, *self._allowed]
        return host.is_loopback or host.name == environ.get(OWN_ADDRESS) or any(one.allows(host) for one in own)

    def _is_from(self, origin: str, host: Host) -> bool:
        """Whether a page at `origin` is the dashboard's own: of the same host and port, or of a host of a proxy."""
        found = _ORIGIN.match(origin)
        sender = None if found is None else Host.parse(found[2])
        # A proxy may pass the host on without the port.
        return sender is not None and (sender == host or any(one.allows(sender) for one in self._allowed))


def _senders(environ: "WSGIEnvironment") -> Iterator[tuple[str, str]]:
    """Where a request says it comes from, if that matters: links to the dashboard may be anywhere."""
    if "HTTP_ORIGIN" in environ:
        yield "Origin", environ["HTTP_ORIGIN"]
    elif environ["REQUEST_METHOD"] not in _READING and environ.get("HTTP_REFERER"):
        yield "Referer", environ["HTTP_REFERER"]


def _drain(environ: "WSGIEnvironment") -> None:
    """Read a short body that nobody wants: to close a connection with something unread in it cuts off the answer."""
    length = environ.get("CONTENT_LENGTH") or "0"
    if length.isascii() and length.isdigit() and int(length) <= _DRAINED:
        environ["wsgi.input"].read(int(length))
