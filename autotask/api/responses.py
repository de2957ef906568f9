"""Responses with JSON."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """Return a response with a value that JSON can hold."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    response = HttpResponse(text, status=status, content_type="application/json", headers=headers)
    response.headers["Cache-Control"] = "no-cache"
    return response


def conditional(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Return a response with an ETag of its content; 304 if the caller has that already."""
    etag = f'"{hashlib.blake2b(response.content, digest_size=12).hexdigest()}"'
    response.headers["ETag"] = etag
    found = get_conditional_response(request, etag=etag, response=response)
    return response if found is None else found
