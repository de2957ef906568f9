"""The list of allowed hosts: what its entries mean, and what none of them lets through."""

import pytest

from autotask.fetching.hosts import AllowedHost, Trust, normal, trust_in


@pytest.mark.parametrize(
    ("allowed", "host", "port", "trust"),
    [
        (["example.org"], "example.org", 443, Trust.INTERNAL),
        (["example.org"], "example.org", 80, Trust.INTERNAL),
        (["example.org"], "example.org", 8080, None),
        (["example.org"], "www.example.org", 443, None),
        (["example.org"], "example.org.evil.net", 443, None),
        (["Example.ORG."], "example.org", 443, Trust.INTERNAL),
        (["bücher.example"], "xn--bcher-kva.example", 443, Trust.INTERNAL),
        (["example.org:8080"], "example.org", 8080, Trust.INTERNAL),
        (["example.org:8080"], "example.org", 80, None),
        (["example.org:*"], "example.org", 6379, Trust.INTERNAL),
        (["*.example.org"], "a.b.example.org", 443, Trust.PUBLIC),
        (["*.example.org"], "example.org", 443, None),
        (["*.example.org"], "badexample.org", 443, None),
        (["*.example.org", "a.example.org"], "a.example.org", 443, Trust.INTERNAL),
        (["*"], "anything.test", 443, Trust.PUBLIC),
        (["*"], "anything.test", 8080, None),
        (["*:*"], "anything.test", 8080, Trust.PUBLIC),
        (["*"], "127.0.0.1", 80, None),
        (["*"], "::1", 80, None),
        (["127.0.0.1:8000"], "127.0.0.1", 8000, Trust.ANY),
        (["[::1]:8000"], "::1", 8000, Trust.ANY),
        (["::1"], "::1", 80, Trust.ANY),
        ([], "example.org", 443, None),
    ],
)
def test_an_entry_allows_its_hosts_and_ports_only(allowed, host, port, trust):
    assert trust_in(host, port, allowed) is trust


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*.",
        "**",
        "a.*.org",
        "http://example.org",
        "example.org/",
        "a b",
        "example.org:0",
        "example.org:http",
        "*x",
        "127.1",
    ],
)
def test_what_is_no_host_is_no_entry(text):
    with pytest.raises(ValueError):
        AllowedHost.parse(text)


@pytest.mark.parametrize(
    "host", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "", "a..b", "a_b%00.org", "x" * 300]
)
def test_a_host_that_some_systems_read_as_an_address_is_no_name(host):
    with pytest.raises(ValueError):
        normal(host)


def test_an_address_has_one_form():
    assert normal("0:0:0:0:0:0:0:1") == "::1"
