"""Errors as problem documents (RFC 9457), each with a stable code."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from django.http import HttpResponse

#: All codes with what they mean; they stay as they are.
CODES = {
    "not_json": "The body is not JSON.",
    "bad_request": "A parameter of the address, or a header, does not fit.",
    "unauthenticated": "There is neither a valid key nor a session.",
    "csrf": "A request with a session needs Django's CSRF token.",
    "forbidden": "The key or the user may not do that.",
    "not_found": "There is no such task, or no such address.",
    "unknown_task": "No task of that name can be called here.",
    "no_logs": "There are no logs of that task.",
    "method_not_allowed": "The address does not take that method.",
    "not_finished": "The task has not finished.",
    "not_cancellable": "The task has finished already.",
    "not_retryable": "The task cannot be retried: it is live or done.",
    "not_discardable": "The task cannot be deleted: it is live or done, or still needed.",
    "already_enqueued": "There is a task already with its unique key.",
    "expired": "The result is not kept any more.",
    "too_large": "The body is too large.",
    "unsupported_media_type": "The body must be application/json.",
    "invalid": "The request has the wrong shape, or its parameters do not fit; see errors.",
    "idempotency_mismatch": "The idempotency key was used with another request.",
    "failed": "The task ended in an error.",
    "cancelled": "The task was cancelled.",
    "too_many_requests": "Too many requests, or too many wrong keys; wait for Retry-After seconds.",
    "unavailable": "The database cannot be reached, or its tables are not migrated yet.",
}


class Problem(Exception):
    """The request cannot be answered: the view turns this into a response.

    :param status: the HTTP status.
    :param code: one of :data:`CODES`.
    :param message: one or two sentences for the caller; never a secret.
    :param errors: for wrong input, what is wrong where: dicts of path, rule and message.
    :param headers: more headers of the response.
    :param more: more members of the document.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str = "",
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        self.status = status
        self.code = code
        self.message = message or CODES[code]
        self.errors = list(errors)
        self.headers = dict(headers or {})
        self.more = more
        super().__init__(self.message)

    def document(self) -> dict[str, Any]:
        """Return the problem document."""
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.message,
            **({"errors": self.errors} if self.errors else {}),
            **self.more,
        }

    def response(self) -> HttpResponse:
        """Return the response."""
        text = json.dumps(self.document(), ensure_ascii=False)
        response = HttpResponse(text, status=self.status, content_type="application/problem+json", headers=self.headers)
        response.headers["Cache-Control"] = "no-store"
        return response


class Refused(Problem):
    """The caller is not known, or may not do that."""
