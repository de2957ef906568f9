"""Requests to real sites on this machine: what arrives, and what is refused or given up, with which message."""

import contextlib
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc

import pytest
import trustme

from autotask.exceptions import FetchFailed, FetchRefused
from autotask.fetching import exchange, fetch
from tests.helpers import patient
from tests.unit.fetching.sites import drip, rude, site


@pytest.fixture(scope="module")
def here():
    with site() as server:
        yield server


def ask(url, method="GET", hosts=("127.0.0.1:*",), timeout=10.0, max_bytes=100_000, **how):
    return fetch(method, url, hosts=hosts, timeout=patient(timeout), max_bytes=max_bytes, **how)


def at(server, path="/", host="127.0.0.1"):
    return f"http://{host}:{server.server_port}{path}"


# --- what arrives ---------------------------------------------------------------------------------------------------


def test_an_answer_has_status_headers_body_and_address(here):
    answer = ask(at(here, "/echo"), "POST", headers={"X-One": "1"}, body=b"some bytes")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain"
    assert json.loads(answer.body) == {"method": "POST", "body": "some bytes"}
    assert answer.url == at(here, "/echo")
    method, path, headers, body = here.seen[-1]
    assert headers["X-One"] == "1"
    assert headers["Host"] == f"127.0.0.1:{here.server_port}"


@pytest.mark.parametrize("status", [204, 404, 500])
def test_every_status_is_an_answer(here, status):
    assert ask(at(here, f"/status?{status}")).status == status


def test_an_answer_to_head_has_no_body(here):
    answer = ask(at(here), "HEAD")
    assert (answer.body, answer.headers["Content-Length"]) == (b"", "5")


def test_a_packed_answer_is_unpacked(here):
    assert ask(at(here, "/gzip")).body == b"was zipped"


def test_an_answer_in_chunks():
    def speak(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

    with rude(speak) as port:
        assert ask(f"http://127.0.0.1:{port}/").body == b"abcde"


def test_the_second_address_is_asked_if_the_first_refuses(here, monkeypatch):
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    places = [
        (socket.AF_INET, 1, 6, "", ("127.0.0.1", port)),
        (socket.AF_INET, 1, 6, "", ("127.0.0.1", here.server_port)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: places)
    assert ask("http://two.test/", hosts=["two.test"]).body == b"hello"


# --- redirects ------------------------------------------------------------------------------------------------------


def test_redirects_are_followed_as_often_as_allowed(here):
    path = f"/to?{at(here, '/to?/echo')}"
    assert ask(at(here, path), redirects=2).url == at(here, "/echo")
    with pytest.raises(FetchFailed, match="more than 1 times"):
        ask(at(here, path), redirects=1)
    assert ask(at(here, path)).status == 302


def test_a_redirect_to_a_host_that_is_not_allowed_is_refused(here):
    before = len(here.seen)
    with pytest.raises(FetchRefused, match="no entry"):
        ask(at(here, f"/to?{at(here, '/secret', 'localhost')}"), redirects=5)
    assert [path for _, path, _, _ in here.seen[before:]] == [f"/to?{at(here, '/secret', 'localhost')}"]


def test_credentials_stay_at_their_origin(here):
    with site() as other:
        ask(at(here, f"/to?{at(other)}"), headers={"Authorization": "Bearer x", "X-One": "1"}, redirects=1)
        headers = other.seen[0][2]
        assert "Authorization" not in headers
        assert headers["X-One"] == "1"


def test_all_redirects_together_have_one_time_limit():
    def speak(connection):
        connection.recv(65536)
        time.sleep(0.2)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")

    with rude(speak) as port, pytest.raises(FetchFailed, match="longer than 1 s"):
        fetch("GET", f"http://127.0.0.1:{port}/", hosts=["127.0.0.1:*"], timeout=1.0, max_bytes=1000, redirects=1000)


# --- where no request goes ------------------------------------------------------------------------------------------


def test_nothing_is_asked_without_a_list(here):
    with pytest.raises(FetchRefused, match="no entry"):
        ask(at(here), hosts=())


def test_a_wildcard_does_not_lead_to_this_machine(here):
    before = len(here.seen)
    with pytest.raises(FetchRefused, match="not public"):
        ask(at(here, host="localhost"), hosts=["*:*"])
    assert len(here.seen) == before


def test_a_name_in_the_list_may_lead_to_this_machine(here):
    assert ask(at(here, host="localhost"), hosts=["localhost:*"]).body == b"hello"


def test_one_bad_address_of_several_is_enough_to_refuse(here, monkeypatch):
    places = [(socket.AF_INET, 1, 6, "", (address, 80)) for address in ("93.184.215.14", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: places)
    with pytest.raises(FetchRefused, match=r"127\.0\.0\.1"):
        ask("http://a.example.org/", hosts=["*.example.org"])


def test_a_name_is_looked_up_once_so_that_the_checked_address_is_asked(here, monkeypatch):
    asked = []

    def look_up(host, port, *args, **kwargs):
        asked.append(host)
        return [(socket.AF_INET, 1, 6, "", ("127.0.0.1" if len(asked) == 1 else "169.254.169.254", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert ask(at(here, host="rebinding.test"), hosts=["rebinding.test:*"]).body == b"hello"
    assert asked == ["rebinding.test"]
    assert here.seen[-1][2]["Host"] == f"rebinding.test:{here.server_port}"


def test_proxies_of_the_environment_are_not_asked(here, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9/")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9/")
    assert ask(at(here)).status == 200


# --- limits ---------------------------------------------------------------------------------------------------------


def test_an_answer_of_exactly_the_largest_size(here):
    assert len(ask(at(here, "/long?100000")).body) == 100_000
    with pytest.raises(FetchFailed, match="more than 100000 bytes"):
        ask(at(here, "/long?100001"))


@pytest.mark.parametrize("path", ["/bomb", "/bombs"])
def test_a_bomb_is_not_unpacked(here, path):
    tracemalloc.start()
    with pytest.raises(FetchFailed, match="more than 100000 bytes"):
        ask(at(here, path))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 60_000_000  # the site itself, in this process, needs a part of that


SLOW = {
    "nothing": drip(b"", b""),
    "status": drip(b"HTTP/1.1 200 OK", b" "),
    "headers": drip(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
    "continue": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x"),
    "chunks": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "length of a chunk": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
}


@pytest.mark.parametrize("speak", SLOW.values(), ids=SLOW)
def test_a_site_that_goes_on_slowly_is_given_up(speak):
    with rude(speak) as port, pytest.raises(FetchFailed, match=r"longer than 0\.5 s"):
        fetch("GET", f"http://127.0.0.1:{port}/", hosts=["127.0.0.1:*"], timeout=0.5, max_bytes=10_000)


def test_a_site_that_reads_nothing_is_given_up():
    given_up, endured = threading.Event(), []
    with rude(lambda connection: endured.append(not given_up.wait(60))) as port:
        with pytest.raises(FetchFailed, match="longer than"):
            fetch(
                "POST", f"http://127.0.0.1:{port}/", hosts=["127.0.0.1:*"], timeout=0.5, max_bytes=9, body=bytes(2**25)
            )
        given_up.set()
    assert endured == [False]


def test_a_resolver_that_does_not_answer_is_given_up(monkeypatch):
    release, answers = threading.Event(), []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: answers.append(release.wait(60)) or [])
    with pytest.raises(FetchFailed, match=r"longer than 0\.3 s"):
        fetch("GET", "http://slow.test/", hosts=["slow.test"], timeout=0.3, max_bytes=100)
    assert answers == []
    release.set()


# --- what fails -----------------------------------------------------------------------------------------------------


def refusing_port():
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return unused.getsockname()[1]


def test_a_closed_port(here):
    with pytest.raises(FetchFailed, match="Connection refused"):
        ask(f"http://127.0.0.1:{refusing_port()}/")


def test_a_name_without_an_address():
    with pytest.raises(FetchFailed, match="no address"):
        ask("http://nowhere.invalid/", hosts=["nowhere.invalid"])


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\n" + b"A" * 70_000,
    ],
)
def test_what_is_not_a_whole_answer(said):
    def speak(connection):
        connection.recv(65536)
        connection.sendall(said)

    with rude(speak) as port, pytest.raises(FetchFailed, match="broke off|Connection reset"):
        ask(f"http://127.0.0.1:{port}/")


def test_an_answer_that_cannot_be_unpacked(here):
    with pytest.raises(FetchFailed, match="unpacked"):
        ask(at(here, "/broken"))


@pytest.mark.parametrize("headers", [{"X-One": "s3cret\r\nX-Two: 2"}, {"X One": "s3cret"}, {"X-One": "s3cret€"}])
def test_an_invalid_header_is_refused_without_showing_it(here, headers):
    with pytest.raises(FetchRefused, match="header") as caught:
        ask(at(here), headers=headers)
    assert "s3cret" not in str(caught.value) + repr(caught.value.__cause__)


def test_no_message_shows_more_of_an_address_than_its_host():
    url = f"http://user:s3cret@127.0.0.1:{refusing_port()}/s3cret?key=s3cret"
    with pytest.raises(FetchFailed) as failed:
        ask(url)
    with pytest.raises(FetchRefused) as refused:
        ask(url, hosts=["example.org"])
    for caught in (failed, refused):
        assert "s3cret" not in str(caught.value) + repr(caught.value.facts)
        assert "127.0.0.1" in str(caught.value)


# --- TLS ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def secure_site(*names, trusted, tmp_path, monkeypatch):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    context.seen = []
    context.sni_callback = lambda connection, name, _: context.seen.append(name)
    if trusted:
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    exchange._tls.cache_clear()
    try:
        with site(context) as server:
            server.names = context.seen
            yield server
    finally:
        exchange._tls.cache_clear()


def test_a_certificate_must_be_for_the_name_and_not_for_the_address(tmp_path, monkeypatch):
    with secure_site("localhost", trusted=True, tmp_path=tmp_path, monkeypatch=monkeypatch) as server:
        answer = ask(f"https://localhost:{server.server_port}/", hosts=["localhost:*"])
        assert answer.body == b"hello"
        assert server.names == ["localhost"]
        assert server.seen[-1][2]["Host"] == f"localhost:{server.server_port}"
        with pytest.raises(FetchFailed, match="certificate is not valid"):
            ask(f"https://127.0.0.1:{server.server_port}/")


def test_a_certificate_for_an_address(tmp_path, monkeypatch):
    with secure_site("127.0.0.1", trusted=True, tmp_path=tmp_path, monkeypatch=monkeypatch) as server:
        assert ask(f"https://127.0.0.1:{server.server_port}/long?90000").body == b"x" * 90_000


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path, monkeypatch):
    with (
        secure_site("localhost", trusted=False, tmp_path=tmp_path, monkeypatch=monkeypatch) as server,
        pytest.raises(FetchFailed, match="certificate is not valid"),
    ):
        ask(f"https://localhost:{server.server_port}/", hosts=["localhost:*"])


def test_a_site_that_speaks_no_tls(here):
    with pytest.raises(FetchFailed, match="TLS failed|broke off|reset"):
        ask(f"https://127.0.0.1:{here.server_port}/")


def test_a_site_that_is_slow_to_speak_tls():
    with rude(drip(b"\x16", b"\x03")) as port, pytest.raises(FetchFailed):
        fetch("GET", f"https://127.0.0.1:{port}/", hosts=["127.0.0.1:*"], timeout=0.5, max_bytes=100)


# --- the extra ------------------------------------------------------------------------------------------------------


def test_urllib3_is_imported_by_the_first_request_only():
    code = "import sys; import autotask.fetching, autotask.conf; assert 'urllib3' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_urllib3_the_message_names_the_extra():
    code = (
        "import sys; sys.modules['urllib3'] = None\n"
        "from autotask.fetching import fetch\n"
        "fetch('GET', 'http://127.0.0.1/', hosts=[], timeout=1, max_bytes=1)"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert 'pip install "autotask[fetch]"' in ended.stderr
