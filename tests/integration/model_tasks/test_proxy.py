"""Requests that a step asks for: the worker makes them, and the next step gets the answer."""

import base64
import dataclasses

import pytest

from tests.integration.model_tasks import site
from tests.integration.model_tasks.models import WorldTask
from tests.integration.model_tasks.test_rows import done

pytest.importorskip("urllib3")
pytestmark = pytest.mark.usefixtures("model_tables")


@pytest.fixture
def server(settings):
    with site.running() as running:
        settings.AUTOTASK_FETCH_HOSTS = ["127.0.0.1:*"]
        yield running


def content(row):
    return base64.decodebytes(row.content.encode()).decode()


def test_the_next_step_gets_the_answer(worker, server):
    row = done(WorldTask.objects.create(proxy={"method": "GET", "url": f"{server.address}/a?b=c"}))

    assert (content(row), row.result, row.success) == ("GET /a?b=c", None, True)


def test_keywords_of_requests_are_honoured(worker, server):
    proxy = {
        "method": "post",
        "url": f"{server.address}/a?b=c",
        "params": {"d": ["e", "f"], "none": None},
        "data": {"g": "h i"},
        "headers": {"X-One": "1"},
        "cookies": {"k": "v"},
        "auth": ["ann", "secret"],
        "timeout": [3, 5],
    }
    row = done(WorldTask.objects.create(proxy=proxy))

    assert content(row) == "POST /a?b=c&d=e&d=f"
    method, _, headers, body = server.requests[0]
    assert (method, body) == ("POST", b"g=h+i")
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert (headers["x-one"], headers["cookie"]) == ("1", "k=v")
    assert headers["authorization"] == "Basic " + base64.b64encode(b"ann:secret").decode()


def test_json_and_redirects(worker, server):
    first = WorldTask.objects.create(proxy={"method": "POST", "url": f"{server.address}/", "json": {"a": 1}})
    second = WorldTask.objects.create(proxy={"method": "GET", "url": f"{server.address}/redirect"})
    third = WorldTask.objects.create(
        proxy={"method": "GET", "url": f"{server.address}/redirect", "allow_redirects": False}
    )
    missing = WorldTask.objects.create(proxy={"method": "GET", "url": f"{server.address}/missing"})

    assert content(done(first)) == "POST /"
    posted = next(request for request in server.requests if request[0] == "POST")
    assert (posted[2]["content-type"], posted[3]) == ("application/json", b'{"a": 1}')
    assert content(done(second)) == "GET /after"
    assert done(third).content == ""
    assert third.result is None
    assert content(done(missing)) == "GET /missing"


def test_a_host_that_is_not_allowed_is_not_asked(worker, server, settings):
    settings.AUTOTASK_FETCH_HOSTS = []
    row = done(WorldTask.objects.create(proxy={"method": "GET", "url": f"{server.address}/?key=secret"}))

    assert server.requests == []
    assert row.content == ""
    assert row.result.startswith(f"task {row.task_info} proxy request failed: proxy=GET {server.address}/, error=")
    assert "AUTOTASK_FETCH_HOSTS" in row.result
    assert "secret" not in row.result


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ({"method": "GET", "url": "http://127.0.0.1/", "verify": False}, "'verify', which is not supported"),
        ({"method": "GET", "url": "http://127.0.0.1/", "files": {}}, "'files', which is not supported"),
        ({"url": "http://127.0.0.1/"}, "proxy needs 'method'"),
        ({"method": "GET", "url": "ftp://127.0.0.1/"}, "only http and https"),
        ("GET", "proxy must be a dict"),
        ({"method": "GET", "url": "http://127.0.0.1/", "auth": "x"}, "needs as 'auth' a pair of name and password"),
        (
            {"method": "GET", "url": "http://127.0.0.1/", "timeout": "x"},
            "needs as 'timeout' seconds, or a pair of them",
        ),
        ({"method": "GET", "url": "http://127.0.0.1/", "timeout": -1}, "needs as 'timeout' seconds, or a pair of them"),
        (
            {"method": "GET", "url": "http://127.0.0.1/", "headers": 5},
            "needs as 'headers' a dict, but has a value of type int",
        ),
        ({"method": "GET", "url": "http://127.0.0.1/", "cookies": ["a"]}, "needs as 'cookies' a dict"),
        ({"method": "GET", "url": "http://127.0.0.1/", "params": 5}, "needs as 'params' a dict, pairs or text"),
        ({"method": "POST", "url": "http://127.0.0.1/", "data": ["a"]}, "needs as 'data' a dict, pairs or text"),
    ],
)
def test_a_request_that_cannot_be_made_is_an_error_for_the_next_step(worker, server, proxy, words):
    row = done(WorldTask.objects.create(proxy=proxy))

    assert row.success is True
    assert words in row.result
    assert server.requests == []


def test_an_answer_of_10_mb(worker, server):
    row = done(WorldTask.objects.create(proxy={"method": "GET", "url": f"{server.address}/big"}), 60)

    assert len(content(row)) == 10 * 2**20


def test_a_site_that_never_answers_is_an_error_after_its_time(worker, settings):
    settings.AUTOTASK_FETCH_HOSTS = ["127.0.0.1:*"]
    with site.silent() as port:
        proxy = {"method": "GET", "url": f"http://127.0.0.1:{port}/", "timeout": 0.5}
        row = done(WorldTask.objects.create(proxy=proxy))

    assert "it took longer than 0.5 s" in row.result


def test_the_method_learns_that_there_is_no_answer_before_the_time_limit_of_its_step(worker, settings, monkeypatch):
    settings.AUTOTASK_FETCH_HOSTS = ["127.0.0.1:*"]
    definition = WorldTask.task_definition
    limited = dataclasses.replace(definition._kind_in("default", False), timeout=2.0)
    monkeypatch.setitem(definition._kinds, ("default", False), limited)
    with site.silent() as port:
        row = done(WorldTask.objects.create(proxy={"method": "GET", "url": f"http://127.0.0.1:{port}/"}))

    assert (row.success, "it took longer than 1.8 s" in row.result) == (True, True)
