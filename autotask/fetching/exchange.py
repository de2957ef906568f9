"""One request and its answer over a connection to a checked address, with urllib3. Imported only when needed."""

import contextlib
import functools
import http.client
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any

from urllib3.connection import HTTPConnection
from urllib3.exceptions import DecodeError, HTTPError
from urllib3.response import BaseHTTPResponse

from autotask.exceptions import FetchFailed
from autotask.fetching.requests import Request

#: The encodings that need no more packages.
_ACCEPTED = "gzip, deflate"

_AT_A_TIME = 65536


def exchange(
    request: Request, places: list[tuple[int, Any]], deadline: float, timeout: float, max_bytes: int
) -> tuple[int, Mapping[str, str], bytes]:
    """Send a request and read the whole answer.

    :param places: the addresses to try, in order.
    :param deadline: until when, by the monotonic clock.
    :param timeout: the seconds that this was, for messages.
    :returns: the status, the headers and the body.
    :raises FetchFailed: there is no answer, or none within the limits.
    """
    with _explained(request, timeout), _connected(request, places, deadline) as connection:
        _send(connection, request)
        response = connection.getresponse()
        return response.status, response.headers, _body(response, request, max_bytes)


@contextlib.contextmanager
def _connected(request: Request, places: list[tuple[int, Any]], deadline: float) -> Iterator[HTTPConnection]:
    # The connection is given its socket, so that it looks nothing up; it only speaks HTTP.
    connection = HTTPConnection(request.host, request.port, timeout=None)
    connection.sock = _open(request, places, deadline)
    with contextlib.closing(connection):
        yield connection


def _open(request: Request, places: list[tuple[int, Any]], deadline: float) -> socket.socket:
    for left in range(len(places), 0, -1):
        family, address = places[len(places) - left]
        share = _seconds_until(deadline) / left  # an address that does not answer must not use up the time of the next
        try:
            return _open_one(request, family, address, time.monotonic() + share, deadline)
        except ssl.SSLError:
            raise
        except OSError:
            if left == 1:
                raise
    raise OSError("there is no address")


def _open_one(request: Request, family: int, address: Any, soon: float, deadline: float) -> socket.socket:
    plain = TimedSocket(family, socket.SOCK_STREAM)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.settimeout(_seconds_until(soon))
        plain.connect(address)
        plain.deadline = deadline
        if request.scheme == "http":
            return plain
        plain.settimeout(_seconds_until(deadline))
        # The certificate must be for the name in the address, whatever the connection goes to.
        secure = _tls().wrap_socket(plain, server_hostname=request.host)
        secure.deadline = deadline  # type: ignore[attr-defined]  # it is a TimedTLSSocket
        return secure
    except BaseException:
        plain.close()
        raise


def _send(connection: HTTPConnection, request: Request) -> None:
    headers = {"User-Agent": "autotask", **request.headers, "Host": request.authority, "Accept-Encoding": _ACCEPTED}
    connection.request(
        request.method, request.target, body=request.body, headers=headers, preload_content=False, decode_content=True
    )


def _body(response: BaseHTTPResponse, request: Request, max_bytes: int) -> bytes:
    # read() and not stream(): that one reads lines of any length from a body in chunks.
    body = bytearray()
    while chunk := response.read(min(_AT_A_TIME, max_bytes + 1)):
        body += chunk
        if len(body) > max_bytes:
            raise FetchFailed(origin=request.origin, reason=f"its answer has more than {max_bytes} bytes")
    return bytes(body)


@contextlib.contextmanager
def _explained(request: Request, timeout: float) -> Iterator[None]:
    """Turn what goes wrong into :class:`FetchFailed`, with messages that show nothing of the request."""
    try:
        yield
    except (OSError, HTTPError, http.client.HTTPException) as error:
        raise FetchFailed(origin=request.origin, reason=_reason(error, timeout)) from None


def _reason(error: BaseException, timeout: float) -> str:
    if isinstance(error, DecodeError):
        return "its answer cannot be unpacked"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, TimeoutError) or "timed out" in str(error):
        return f"it took longer than {timeout:g} s"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or 'no reason given'})"
    if isinstance(error, OSError) and not isinstance(error, HTTPError) and error.strerror:
        return f"the connection failed ({error.strerror})"
    return f"the connection broke off, or its answer is not HTTP ({type(error).__name__})"


def _seconds_until(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds


class TimedSocket(socket.socket):
    """A socket whose operations end at a deadline, however many they are.

    A timeout of a socket is that of one operation: a server that sends a byte a second would never exceed it.
    """

    deadline: float

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Receive until the deadline."""
        self.settimeout(_seconds_until(self.deadline))
        return super().recv_into(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        """Send until the deadline."""
        self.settimeout(_seconds_until(self.deadline))
        super().sendall(*args, **kwargs)


class TimedTLSSocket(ssl.SSLSocket):
    """The same for TLS."""

    deadline: float

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Receive until the deadline."""
        self.settimeout(_seconds_until(self.deadline))
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        """Send a part until the deadline; ``sendall`` calls this."""
        self.settimeout(_seconds_until(self.deadline))
        return super().send(*args, **kwargs)


@functools.cache  # Reading the certificates of the system takes milliseconds.
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.sslsocket_class = TimedTLSSocket
    context.set_alpn_protocols(["http/1.1"])
    return context
