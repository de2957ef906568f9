"""A request taken apart: what is sent where, and what is not passed on when it is redirected."""

import pytest

from autotask.exceptions import FetchRefused
from autotask.fetching.requests import Request


def request(method="GET", url="https://example.org/a?b=c", headers=None, body=None):
    return Request.of(method, url, headers or {}, body)


def test_the_parts_of_an_address():
    asked = request(url="HTTPS://Example.ORG:8443/ä b?q=%20ü#top".replace(" ", "%20"))
    assert (asked.scheme, asked.host, asked.port) == ("https", "example.org", 8443)
    assert asked.target == "/%C3%A4%20b?q=%20%C3%BC"
    assert asked.authority == "example.org:8443"


def test_an_address_of_version_6():
    asked = request(url="http://[::1]:8000")
    assert (asked.host, asked.port, asked.target, asked.authority) == ("::1", 8000, "/", "[::1]:8000")


def test_a_password_becomes_a_header_and_is_in_no_address():
    asked = request(url="https://me:s%40cret@example.org/")
    assert asked.headers == {"Authorization": "Basic bWU6c0BjcmV0"}
    assert "cret" not in asked.url + asked.origin + asked.authority


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "/path",
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://example.org/",
        "http://",
        "http:///x",
        "http://exa mple.org/",
        "http://example.org/\r\nX: y",
        "http://example.org:99999/",
        "http://[::1",
        "http://127.1/",
        "http://2130706433/",
    ],
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(FetchRefused):
        request(url=url)


def test_the_host_is_what_comes_after_the_last_at_sign():
    assert request(url="http://allowed.org\\@evil.org/").host == "evil.org"
    assert request(url="http://allowed.org@evil.org/").host == "evil.org"


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "GET / HTTP/1.1\r\n", ""])
def test_a_method_that_nobody_needs_is_refused(method):
    with pytest.raises(FetchRefused):
        request(method=method)


def test_the_headers_of_the_connection_are_not_for_the_caller():
    asked = request(headers={"Host": "evil.org", "Content-Length": "3", "transfer-encoding": "chunked", "X-One": "1"})
    assert asked.headers == {"X-One": "1"}


@pytest.mark.parametrize(
    ("method", "status", "following", "has_body"),
    [
        ("GET", 301, "GET", True),
        ("POST", 301, "GET", False),
        ("POST", 302, "GET", False),
        ("PUT", 302, "PUT", True),
        ("PUT", 303, "GET", False),
        ("HEAD", 303, "HEAD", True),
        ("POST", 307, "POST", True),
        ("POST", 308, "POST", True),
    ],
)
def test_a_redirected_request_has_the_method_that_browsers_use(method, status, following, has_body):
    redirected = request(method, headers={"Content-Type": "text/plain"}, body=b"x").redirected(status, "/next")
    assert redirected.method == following
    assert (redirected.body == b"x") is has_body
    assert ("Content-Type" in redirected.headers) is has_body


SECRETS = {"Authorization": "Bearer x", "Cookie": "a=b", "X-One": "1"}


def test_another_origin_gets_no_credentials():
    asked = request(headers=SECRETS)
    assert asked.redirected(302, "/next").headers == SECRETS
    for other in ("https://other.org/", "http://example.org/", "https://example.org:8443/", "//other.org/"):
        assert asked.redirected(302, other).headers == {"X-One": "1"}


def test_a_redirect_with_a_password_gets_none_of_it():
    assert request().redirected(302, "https://me:pw@example.org/").headers == {}


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://x/", "http://127.1/"])
def test_a_redirect_to_elsewhere_is_refused(location):
    with pytest.raises(FetchRefused):
        request().redirected(302, location)


def test_a_location_in_any_bytes_is_quoted():
    assert request().redirected(302, "/gr\xc3\xbc\xc3\x9f e").target == "/gr%C3%BC%C3%9F%20e"
