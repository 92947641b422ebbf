"""Which requests the dashboard answers: those of its own hosts and of its own pages."""

import http.client
import io
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import pytest

from studies import dashboard_server
from studies.dashboard_guard import OWN_ADDRESS, Guard, allowed_hosts
from studies.errors import BadInput
from tests.held import LONG

Answer = tuple[int, str]


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ.get("HTTP_X_FORWARDED_HOST", "let through").encode()]


def ask(
    method: str = "GET", host: str | None = "127.0.0.1:8080", allowed: Iterable[str] = (), listening: str = "127.0.0.1",
    **headers: str,
) -> Answer:  # fmt: skip
    """The status and the text for a request that arrives at 192.0.2.7."""
    environ: dict[str, Any] = {"REQUEST_METHOD": method, OWN_ADDRESS: "192.0.2.7", "wsgi.input": io.BytesIO()}
    setup_testing_defaults(environ)
    environ.pop("HTTP_HOST")
    environ |= {} if host is None else {"HTTP_HOST": host}
    environ |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    said: list[str] = []
    told = Guard(application, listening, allowed_hosts(allowed))(environ, lambda status, _: said.append(status))
    return int(said[0].split()[0]), b"".join(told).decode()


OWN = ["localhost", "localhost:8080", "LocalHost:9000", "localhost.", "localhost.:8080", "127.0.0.1", "127.0.0.2:1"]
OWN += ["[::1]:8080", "[0:0:0:0:0:0:0:1]", "192.0.2.7:8080"]
FOREIGN = ["evil.example", "evil.example:8080", "192.0.2.8:8080", "localhost.evil.example", "127.0.0.1.evil.example"]
FOREIGN += ["evil.localhost", "localhost@evil.example", "evil@localhost", "localhost,evil.example", "[::2]:8080"]
FOREIGN += ["http://localhost", "localhost/", "localhost:8080:8080", "localhost:x", "[::1", "::1", "0.0.0.0:8080", "."]
FOREIGN += ["local host", "localhoſt", "lo\u212aalhost", "0", "2130706433"]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_its_own_hosts_are_answered_and_no_others(method: str) -> None:
    assert {host: ask(method, host) for host in OWN} == dict.fromkeys(OWN, (200, "let through"))
    assert {host: ask(method, host)[0] for host in FOREIGN} == dict.fromkeys(FOREIGN, 421)
    assert ask(method, None) == ask(method, "") == (400, "rigl-study: the request names no host.\n")


def test_a_refusal_says_which_host_and_what_to_do_in_one_plain_line() -> None:
    assert ask(host="studies.example.org:8080")[1] == (
        "rigl-study: this dashboard does not answer to the host 'studies.example.org:8080'. If that is a proxy of "
        "yours: --allowed-host studies.example.org.\n"
    )
    assert ask(host="\x1b[31m\r\n" + 300 * "x")[1].count("\n") == 1


def test_the_host_it_listens_on_is_its_own() -> None:
    assert ask(host="gpubox:8080", listening="gpubox")[0] == 200
    assert ask(host="gpubox:8080", listening="0.0.0.0")[0] == 421
    assert ask(host="0.0.0.0:8080", listening="0.0.0.0")[0] == 200, "as the command prints the address"


def test_hosts_may_be_allowed_with_a_port_or_without() -> None:
    allowed = ["Studies.Example.org", "gpubox:9000"]
    answered = {"studies.example.org": 200, "studies.example.org:8443": 200, "gpubox:9000": 200, "gpubox:9001": 421}
    assert {host: ask(host=host, allowed=allowed)[0] for host in answered} == answered


@pytest.mark.parametrize(
    "text", ["https://studies.example.org", "*", "*.example.org", "", "ann@host", "a b", "bücher.de"]
)
def test_a_text_that_names_no_host_cannot_be_allowed(text: str) -> None:
    with pytest.raises(BadInput, match=r"--allowed-host is .*; give a host as it stands in the address bar"):
        allowed_hosts([text])


@pytest.mark.parametrize("header", ["origin", "referer"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_a_page_of_another_site_changes_nothing(method: str, header: str) -> None:
    def status(sender: str, **more: Any) -> int:
        return ask(method, **{header: sender}, **more)[0]

    foreign = ["http://evil.example", "http://127.0.0.1:3000", "http://127.0.0.1", "http://localhost:8080", "null", "x"]
    foreign += ["file://127.0.0.1:8080", "http://127.0.0.1:8080@evil.example", "http://127.0.0.1:8080.evil.example"]
    assert {sender: status(sender) for sender in foreign} == dict.fromkeys(foreign, 403)
    assert status("http://127.0.0.1:8080") == 200
    assert status("http://[::1]:8080", host="[::1]:8080") == 200
    assert status("https://studies.example.org", host="studies.example.org", allowed=["studies.example.org"]) == 200
    by_port = {"host": "studies.example.org", "allowed": ["studies.example.org"]}
    assert status("https://studies.example.org:8443", **by_port) == 200, "a proxy that passes on no port"
    assert status("https://evil.example", **by_port) == 403


def test_who_names_no_page_is_no_page() -> None:
    assert ask("POST")[0] == 200, "curl and scripts"
    assert ask("GET", referer="http://elsewhere.example/")[0] == 200, "a link to the dashboard"
    assert ask("GET", origin="http://elsewhere.example")[0] == 403, "a script that reads: artifacts say that any may"


def test_what_a_request_says_of_a_forwarded_host_counts_for_nothing() -> None:
    assert ask(host="evil.example", x_forwarded_host="localhost")[0] == 421
    assert ask(x_forwarded_host="evil.example") == (200, "let through"), "a redirect would lead there"


@pytest.fixture
def storage(tmp_path: Path) -> optuna.storages.BaseStorage:
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/study.db")
    optuna.create_study(storage=storage, study_name="mine")
    return storage


@pytest.fixture
def port(storage: optuna.storages.BaseStorage, tmp_path: Path) -> Iterator[int]:
    """The port of Optuna's dashboard, as `rigl-study dashboard` serves it."""
    from optuna.artifacts import FileSystemArtifactStore

    dashboard = pytest.importorskip("optuna_dashboard")
    served = dashboard.wsgi(storage, artifact_store=FileSystemArtifactStore(tmp_path))
    server = dashboard_server.listen("127.0.0.1", 0, served)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def request(port: int, method: str, path: str, host: str | None, body: str | None = None, **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONG)
    connection.putrequest(method, path, skip_host=True)
    sent = {**({} if host is None else {"Host": host}), "Content-Length": str(len(body or "")), **headers}
    for name, value in sent.items():
        connection.putheader(name, value)
    connection.endheaders((body or "").encode())
    answer = connection.getresponse()
    told = answer.status, answer.read().decode("utf-8", "replace")
    connection.close()
    return told


PATHS = [
    "/",
    "/dashboard",
    "/api/studies",
    "/api/meta",
    "/csv/1",
    "/static/bundle.js",
    "/favicon.ico",
    "/artifacts/1/0",
    "/x",
]


def test_no_route_of_the_real_dashboard_answers_to_another_host(port: int) -> None:
    assert {path: request(port, "GET", path, "evil.example")[0] for path in PATHS} == dict.fromkeys(PATHS, 421)
    assert {path: request(port, "GET", path, None)[0] for path in PATHS} == dict.fromkeys(PATHS, 400)
    assert request(port, "GET", "/api/studies", f"localhost:{port}")[0] == 200


def test_studies_are_neither_made_nor_deleted_for_another_site(port: int, storage: optuna.storages.BaseStorage) -> None:
    new = json.dumps({"study_name": "theirs", "directions": ["minimize"]})
    kind = {"Content-Type": "application/json"}
    own, evil = f"127.0.0.1:{port}", f"evil.example:{port}"
    assert request(port, "POST", "/api/studies", evil, new, Origin=f"http://{evil}", **kind)[0] == 421
    assert request(port, "DELETE", "/api/studies/1", evil)[0] == 421
    assert request(port, "POST", "/api/studies", own, new, Origin=f"http://{evil}", **kind)[0] == 403
    assert request(port, "DELETE", "/api/studies/1", own, Referer=f"http://{evil}/page")[0] == 403
    assert [study.study_name for study in storage.get_all_studies()] == ["mine"]
    assert request(port, "POST", "/api/studies", own, new, Origin=f"http://{own}", **kind)[0] == 201
    assert request(port, "DELETE", "/api/studies/1", own, Origin=f"http://{own}")[0] == 204
    assert [study.study_name for study in storage.get_all_studies()] == ["theirs"]
