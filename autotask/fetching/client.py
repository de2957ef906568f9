"""fetch(): one request to another site, with its redirects."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autotask.exceptions import ExtraMissing, FetchFailed, FetchRefused
from autotask.fetching import addresses, hosts
from autotask.fetching.requests import Request

#: Answers that redirect. (300 and 304 do not.)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

_NOT_ALLOWED = (
    "no entry of AUTOTASK_FETCH_HOSTS (for webhooks: AUTOTASK_WEBHOOK_HOSTS) allows its host and port; "
    'an entry without a port, as "example.org", allows ports 80 and 443, and "example.org:8000" allows another one'
)


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer.

    :ivar headers: their names in any case; several of one name are joined by commas.
    :ivar body: unpacked, if it was sent compressed.
    :ivar url: the address that has answered, after redirects; without a name and a password.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


def fetch(
    method: str,
    url: str,
    *,
    hosts: Iterable[str],
    timeout: float,
    max_bytes: int,
    redirects: int = 0,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Fetched:
    """Request an address, and return the answer, whatever its status is.

    The addresses of the host are looked up once and checked, and the connection goes to one of those. Certificates are
    checked. The proxies of the environment are not used: they would look the host up again.

    :param hosts: those that may be asked, as in the setting ``AUTOTASK_FETCH_HOSTS``.
    :param timeout: seconds that everything may take together.
    :param max_bytes: the largest body of an answer, after unpacking.
    :param redirects: how many redirects to follow, each checked like the first address; 0: the answer that redirects is
        returned.
    :raises FetchRefused: it must not be requested; nothing was sent there.
    :raises FetchFailed: there is no answer, or none within the limits.
    :raises ExtraMissing: urllib3 is not installed.
    """
    exchange = _exchange()
    deadline = time.monotonic() + timeout
    allowed = tuple(hosts)
    request = Request.of(method, url, headers or {}, body)
    for _ in range(redirects + 1):
        places = _places(request, allowed, deadline, timeout)
        status, answered, content = exchange(request, places, deadline, timeout, max_bytes)
        location = answered.get("location")
        if not redirects or status not in _REDIRECTS or not location:
            return Fetched(status, answered, content, request.url)
        request = request.redirected(status, location)
    raise FetchFailed(origin=request.origin, reason=f"it was redirected more than {redirects} times")


def _exchange() -> Any:
    try:
        from autotask.fetching.exchange import exchange  # the extra, only when it is needed
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "urllib3":
            raise
        raise ExtraMissing(what="Requesting addresses", package="urllib3", extra="fetch") from None
    return exchange


def _places(request: Request, allowed: tuple[str, ...], deadline: float, timeout: float) -> list[tuple[int, Any]]:
    """Return the addresses to connect to, each of them checked.

    :raises FetchRefused: the host is not allowed, or has an address that it must not have.
    """
    trust = hosts.trust_in(request.host, request.port, allowed)
    if trust is None:
        raise FetchRefused(origin=request.origin, reason=_NOT_ALLOWED)
    try:
        places = addresses.resolve(request.host, request.port, max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        raise FetchFailed(origin=request.origin, reason=f"it took longer than {timeout:g} s") from None
    except OSError as error:
        raise FetchFailed(origin=request.origin, reason=f"its name has no address ({error.strerror})") from None
    except ValueError:  # a label that is too long
        raise FetchFailed(origin=request.origin, reason="its name has no address") from None
    for _, address in places:
        if reason := addresses.why_refused(address[0], trust):
            raise FetchRefused(origin=request.origin, reason=reason)
    return places
