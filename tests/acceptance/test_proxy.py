"""The proxy of docs/operating.md, by a real nginx: the dashboard behind it asks for a login."""

import base64
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.forked import Command

ROOT = Path(__file__).parents[2]
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
NAME = "studies.example.org"
SPEC = """
name = "tiny"
[fixed]
dataset = "digits"
sparsity = 0.5
[strategy]
n_trials = 1
"""


@pytest.fixture
def dashboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a dashboard with one study in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RIGL_STUDY_STORAGE", "sqlite:///study.db")
    Path("tiny.toml").write_text(SPEC)
    assert Command("create", "tiny.toml").finish().returncode == 0
    command = [sys.executable, "-m", "studies", "dashboard", "--port", "0", "--allowed-host", NAME]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", said)
        assert found, said
        yield int(found[1])
        process.terminate()
        process.stderr.read()


@pytest.fixture
def proxy(
    dashboard: int, tmp_path: Path, wait_until: Callable[..., bool], keep_port: Callable[[], int]
) -> Iterator[str]:
    """The address of nginx with the page's own configuration; only its port and its paths are others."""
    if NGINX is None or shutil.which("openssl") is None:
        pytest.skip("no nginx or no openssl here")
    page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```nginx\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    port = keep_port()
    for theirs, ours in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/nginx/", f"{tmp_path}/"),
        ("127.0.0.1:8080", f"127.0.0.1:{dashboard}"),
    ):
        assert theirs in block
        block = block.replace(theirs, ours)
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", "studies.key", "-out", "studies.pem"], check=True, capture_output=True)
    hashed = subprocess.run(["openssl", "passwd", "-apr1", "s3cr3t"], check=True, capture_output=True, text=True).stdout
    Path("studies.htpasswd").write_text(f"ann:{hashed}")
    temporary = "".join(f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi"))
    temporary += f"uwsgi_temp_path {tmp_path}/uwsgi;\nscgi_temp_path {tmp_path}/scgi;\naccess_log off;\n"
    user = "user root;\n" if os.geteuid() == 0 else ""  # or its workers could not read what lies here
    Path("nginx.conf").write_text(f"{user}pid {tmp_path}/pid;\nevents {{}}\nhttp {{\n{temporary}{block}}}\n")
    with subprocess.Popen(
        [NGINX, "-c", f"{tmp_path}/nginx.conf", "-p", str(tmp_path), "-e", f"{tmp_path}/errors", "-g", "daemon off;"]
    ) as process:

        def answers() -> bool:
            assert process.poll() is None, Path("errors").read_text()
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", port)) == 0

        assert wait_until(answers)
        yield f"https://127.0.0.1:{port}"
        process.terminate()


def ask(url: str, password: str | None, method: str = "GET", **headers: str) -> int:
    """The status that comes back, after all redirects."""
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE  # its certificate is its own
    login = {} if password is None else {"Authorization": "Basic " + base64.b64encode(password.encode()).decode()}
    request = urllib.request.Request(url, headers={**login, **headers}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60, context=unverified) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_the_dashboard_answers_to_the_name_of_its_proxy(proxy: str) -> None:
    studies = f"{proxy}/api/studies"
    assert ask(studies, "ann:s3cr3t", Host=NAME) == 200
    assert ask(studies, "ann:s3cr3t", Host="evil.example") == 421
    assert ask(f"{proxy}/", "ann:s3cr3t") == 200, "it leads to /dashboard, by TLS and at the proxy's port"
    assert ask(f"{studies}/1", "ann:s3cr3t", "DELETE", Origin="https://evil.example") == 403
    assert ask(f"{studies}/1", "ann:s3cr3t", "DELETE", Origin=proxy) == 204


def test_only_who_has_a_login_reaches_the_dashboard(proxy: str, dashboard: int) -> None:
    studies = f"{proxy}/api/studies"
    assert ask(studies, None) == 401
    assert ask(studies, "ann:wrong") == 401
    assert ask(f"{studies}/1", None, "DELETE") == 401
    assert ask(studies, "ann:s3cr3t") == 200
    assert ask(f"{proxy}/dashboard", "ann:s3cr3t") == 200
    assert ask(f"{studies}/1", "ann:s3cr3t") == 200, "the study is still there"
    assert ask(f"http://127.0.0.1:{dashboard}/api/studies", None) == 200, "on the machine itself there is no login"
