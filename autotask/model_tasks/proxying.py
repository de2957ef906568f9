"""The argument of a step: its payload, with the answer to the request for which the step before has asked.

A step that is not the last may return ``{"proxy": {"method": …, "url": …}}``, as for ``requests.request()``. A worker makes the
request, and the next step gets the answer.
"""

import base64
import json
import math
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from autotask.conf import settings
from autotask.exceptions import AutotaskError
from autotask.texts.lines import describe

#: The most redirects that are followed.
REDIRECTS = 30

#: The share of the time limit of a step that its request may take: so the method still learns that there is no answer.
SHARE = 0.9

#: The keywords of ``requests.request()`` that are honoured. The rest would change where the request goes, or whether
#: certificates are checked, or need an open file.
KEYWORDS = (
    *("method", "url", "params", "data", "json", "headers", "cookies", "auth", "timeout", "allow_redirects"),
    *("stream", "verify"),
)


def payload_for(
    row: Any, number: int, before: Any, body: Mapping[str, Any] | None, limit: float = math.inf
) -> dict[str, Any]:
    """Return the payload of a step.

    :param before: what the step before has returned.
    :param body: what a client from outside has sent along with this step, or with an earlier one.
    :param limit: seconds that the step may take.
    """
    is_of_step = body is not None and body.get("step", 1) == number
    payload = dict(body) if body is not None and is_of_step else {"task_info": row.task_info, "step": number}
    proxy = before.get("proxy") if isinstance(before, dict) else None
    if proxy and "proxied_content" not in payload and "proxied_error" not in payload:
        payload["proxied_content"], payload["proxied_error"] = answer(row.task_info, proxy, limit * SHARE)
    return payload


def answer(task_info: str, proxy: Any, seconds: float) -> tuple[str | None, str | None]:
    """Make a request, and return the answer in base64, with line breaks, or why there is none.

    :param seconds: the most that it may take, whatever the setting says.
    """
    try:
        content = _fetch(proxy, seconds)
    except Exception as error:  # whatever it is, the next step decides what it means
        return None, f"task {task_info} proxy request failed: proxy={_shown(proxy)}, error={_why(error)}."
    return base64.encodebytes(content).decode("ascii"), None


def _fetch(proxy: Any, seconds: float) -> bytes:
    from autotask.fetching import fetch  # only where a request is made

    if not isinstance(proxy, Mapping):
        raise TypeError(f"proxy must be a dict as for requests.request(), but is {type(proxy).__name__}")
    _refuse_unknown(proxy)
    headers, body = _headers_and_body(proxy)
    answer = fetch(
        str(proxy["method"]),
        _url(proxy),
        hosts=settings.FETCH_HOSTS,
        timeout=min(settings.FETCH_TIMEOUT, _timeout(proxy.get("timeout")), seconds),
        max_bytes=settings.FETCH_MAX_BYTES,
        redirects=REDIRECTS if proxy.get("allow_redirects", True) else 0,
        headers=headers,
        body=body,
    )
    return answer.body


def _refuse_unknown(proxy: Mapping[str, Any]) -> None:
    for name in ("method", "url"):
        if not isinstance(proxy.get(name), str):
            raise TypeError(f"proxy needs {name!r}, a string")
    for name, value in proxy.items():
        if name not in KEYWORDS or (name == "verify" and value is not True):
            raise TypeError(f"proxy has {name!r}, which is not supported; it can have {', '.join(KEYWORDS[:10])}")
        words, fits = _SHAPES.get(name, ("", None))
        if fits is not None and value and not fits(value):
            raise TypeError(f"proxy needs as {name!r} {words}, but has a value of type {type(value).__name__}")


def _is_dict(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_query(value: Any) -> bool:
    pairs = isinstance(value, (list, tuple)) and all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in value
    )
    return pairs or isinstance(value, (str, Mapping))


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2


def _is_time(value: Any) -> bool:
    parts = value if _is_pair(value) else [value]
    return all(part is None or (isinstance(part, (int, float)) and part >= 0) for part in parts)


#: The kinds of values that keywords take, in words, each with a function that says whether a value is one.
_SHAPES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "params": ("a dict, pairs or text", _is_query),
    "data": ("a dict, pairs or text", lambda value: isinstance(value, bytes) or _is_query(value)),
    "headers": ("a dict", _is_dict),
    "cookies": ("a dict", _is_dict),
    "auth": ("a pair of name and password", _is_pair),
    "timeout": ("seconds, or a pair of them", _is_time),
}


def _url(proxy: Mapping[str, Any]) -> str:
    url, params = str(proxy["url"]), proxy.get("params")
    if not params:
        return url
    query = params if isinstance(params, str) else _encoded(params)
    url, hash_, fragment = url.partition("#")
    return f"{url}{'&' if '?' in url else '?'}{query}{hash_}{fragment}"


def _encoded(pairs: Any) -> str:
    items = pairs.items() if isinstance(pairs, Mapping) else pairs
    return urlencode([(name, value) for name, value in items if value is not None], doseq=True)


def _headers_and_body(proxy: Mapping[str, Any]) -> tuple[dict[str, str], bytes | None]:
    headers = {str(name): str(value) for name, value in (proxy.get("headers") or {}).items() if value is not None}
    names = {name.lower() for name in headers}
    body, kind = _body(proxy)
    if kind and "content-type" not in names:
        headers["Content-Type"] = kind
    if (cookies := proxy.get("cookies")) and "cookie" not in names:
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    if (auth := proxy.get("auth")) is not None:
        user, password = auth  # anything else than a pair is an error
        pair = f"{user}:{password}".encode("latin-1", "replace")
        headers["Authorization"] = "Basic " + base64.b64encode(pair).decode("ascii")
    return headers, body


def _body(proxy: Mapping[str, Any]) -> tuple[bytes | None, str]:
    data, value = proxy.get("data"), proxy.get("json")
    if data:
        if isinstance(data, bytes):
            return data, ""
        if isinstance(data, str):
            return data.encode(), ""
        return _encoded(data).encode(), "application/x-www-form-urlencoded"
    if value is not None:
        return json.dumps(value, allow_nan=False).encode(), "application/json"
    return None, ""


def _timeout(timeout: Any) -> float:
    if timeout is None:
        return settings.FETCH_TIMEOUT
    if isinstance(timeout, (tuple, list)):  # to connect, and to read
        return sum(settings.FETCH_TIMEOUT if part is None else float(part) for part in timeout)
    return float(timeout)


def _shown(proxy: Any) -> str:
    """Return a request without what may be a secret: the values of its parts other than method and host."""
    if not isinstance(proxy, Mapping):
        return type(proxy).__name__
    url = str(proxy.get("url", "")).partition("?")[0].rpartition("@")[2]
    return f"{proxy.get('method')} {url}"[:300]


def _why(error: Exception) -> str:
    return (str(error) if isinstance(error, AutotaskError) else describe(error)).rstrip(".")
