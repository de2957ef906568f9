"""A request that is about to be sent, taken apart once, so that all checks and the connection mean the same host."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit

from autotask.exceptions import FetchRefused
from autotask.fetching.hosts import normal

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})

_PORTS = {"http": 80, "https": 443}

#: Characters of a path or query that are sent as they are.
_SAFE = "/%:=&?~#+!$,;'@()*[]"

#: Headers for one origin, which no other one gets when it is redirected there.
_FOR_ONE_ORIGIN = frozenset({"authorization", "cookie", "proxy-authorization"})

#: Headers that describe a body.
_OF_BODY = frozenset({"content-type", "content-length", "content-encoding", "content-language", "transfer-encoding"})

#: Headers that belong to the connection: what they say must be what is sent.
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})

#: The name and the value of a header. (RFC 9110, sections 5.1 and 5.5.)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    :ivar host: as in :func:`autotask.fetching.hosts.normal`.
    :ivar target: the path with the query.
    """

    method: str
    scheme: str
    host: str
    port: int
    target: str
    headers: Mapping[str, str]
    body: bytes | None

    @classmethod
    def of(cls, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> "Request":
        """Take an address apart; a name and a password in it become a header.

        :raises FetchRefused: it cannot be requested.
        """
        if method.upper() not in METHODS:
            raise FetchRefused(origin="The address", reason=f"the method must be one of {', '.join(sorted(METHODS))}")
        if any(character <= " " or character == "\x7f" for character in url):
            raise FetchRefused(origin="The address", reason="it has spaces or invisible characters")
        try:
            parts = urlsplit(url)
            host, port = normal(parts.hostname or ""), parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            raise FetchRefused(origin="The address", reason="it is not a URL with the name of a host") from None
        if parts.scheme not in _PORTS:
            raise FetchRefused(origin=host, reason="only http and https are requested")
        if not all(_NAME.fullmatch(name) and _VALUE.fullmatch(value) for name, value in headers.items()):
            raise FetchRefused(origin=host, reason="a header has an invalid name or value")  # which may be a secret
        target = quote(parts.path or "/", _SAFE) + (f"?{quote(parts.query, _SAFE)}" if parts.query else "")
        kept = {name: value for name, value in headers.items() if name.lower() not in _OURS}
        if parts.username is not None and "authorization" not in map(str.lower, kept):
            kept["Authorization"] = _basic(parts.username, parts.password or "")
        return cls(method.upper(), parts.scheme, host, port, target, kept, body)

    @property
    def origin(self) -> str:
        """The scheme, the host and the port: all of an address that messages show. The rest may be a secret."""
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """The host, with the port unless that is the usual one; as in the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole address, without a name and a password."""
        return self.origin + self.target

    def redirected(self, status: int, location: str) -> "Request":
        """Return the request to which an answer redirects, as browsers do it.

        :raises FetchRefused: that cannot be requested.
        """
        as_get = status == 303 or (status in (301, 302) and self.method == "POST")
        headers, body = self.headers, self.body
        if as_get and self.method != "HEAD":
            headers, body = _without(headers, _OF_BODY), None
        # Servers send all kinds of bytes, which http.client reads as Latin-1.
        location = quote(location.strip().encode("latin-1", "replace"), _SAFE)
        following = Request.of(self.method, urljoin(self.url, location), {}, body)
        if following.origin != self.origin:
            headers = _without(headers, _FOR_ONE_ORIGIN)
        method = "GET" if as_get and self.method != "HEAD" else self.method
        return replace(following, method=method, headers=headers)


def _without(headers: Mapping[str, str], names: frozenset[str]) -> Mapping[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in names}


def _basic(name: str, password: str) -> str:
    pair = unquote_to_bytes(name) + b":" + unquote_to_bytes(password)
    return "Basic " + base64.b64encode(pair).decode("ascii")
