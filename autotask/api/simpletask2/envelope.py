"""Bodies and answers: always status 200 and one shape, and never a word about what went wrong inside."""

import functools
import json
import logging
from collections.abc import Callable
from typing import Any

from django.db import connections, transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_variables

from autotask.api.simpletask2.keys import refuse_stranger
from autotask.api.simpletask2.problems import BadRequest, Problem
from autotask.conf import settings

logger = logging.getLogger("autotask")

View = Callable[[HttpRequest], JsonResponse]


class Answer(JsonResponse):
    """An answer after which there may be more to do.

    :ivar then: called when the client has its answer.
    """

    then: Callable[[], None] | None = None

    def close(self) -> None:
        """Do the rest. The web server calls this; it may have been called before."""
        then, self.then = self.then, None
        try:
            if then is not None:
                then()
        except Exception:  # the request is answered
            logger.exception("The work after an answer to a client of django-simpletask2 failed")
        finally:
            super().close()


def answering(act: Callable[[dict[str, Any]], Any], then: Callable[[dict[str, Any]], None] | None = None) -> View:
    """Make a view of a function that takes the body of a request, without the key, and returns the result.

    It runs outside of transactions, whatever ``ATOMIC_REQUESTS`` says: it waits for what others commit.

    :param then: is called with the same body when the client has the result; None: there is nothing to do.
    """

    @functools.wraps(act)
    def view(request: HttpRequest) -> JsonResponse:
        try:
            answer = _answer(True, act(body := authorized(request)), 0, "OK")
            if then is not None:
                answer.then = functools.partial(then, body)
            return answer
        except Problem as problem:
            return _answer(False, None, problem.code, problem.message)
        except Exception:  # a stranger learns nothing about the inside
            logger.exception("%s of a client of django-simpletask2 failed", act.__name__)
            return _answer(False, None, Problem.code, Problem.template)

    for alias in connections:
        transaction.non_atomic_requests(using=alias)(view)
    return csrf_exempt(view)


@sensitive_variables()
def authorized(request: HttpRequest) -> dict[str, Any]:
    """Return the body of a request that has a valid key, without the key.

    :raises Problem: the body is not a JSON object, or the key is missing or wrong.
    """
    try:
        body = json.loads(_read(request))
    except ValueError:
        raise BadRequest from None
    if not isinstance(body, dict):
        raise BadRequest
    refuse_stranger(body.pop("aclkey", None), str(request.META.get("REMOTE_ADDR") or ""))
    return body


def _read(request: HttpRequest) -> bytes:
    # Not request.body, which takes at most DATA_UPLOAD_MAX_MEMORY_SIZE: an answer of another site, in base64, may be larger.
    most = 65536 + settings.FETCH_MAX_BYTES * 3 // 2
    text = request.read(most + 1)
    if len(text) > most:
        raise BadRequest
    return bytes(text)


def _answer(success: bool, result: Any, code: int, message: str) -> Answer:
    response = Answer({"success": success, "result": result, "error": {"code": code, "message": message}})
    response.headers["Cache-Control"] = "no-store"
    # Without it, servers send the body in chunks: twice the writes for them, and the reads for the client.
    response.headers["Content-Length"] = str(len(response.content))
    return response
