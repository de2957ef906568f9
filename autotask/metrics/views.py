"""The view that Prometheus reads."""

import hmac

from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from autotask.conf import settings
from autotask.exceptions import TablesMissing
from autotask.metrics.exposition import CONTENT_TYPE
from autotask.metrics.numbers import lines
from autotask.store import tables
from autotask.store.connection import current
from autotask.texts import advice
from autotask.texts.lines import describe, one_line


@login_not_required
@require_safe
def view(request: HttpRequest) -> HttpResponse:
    """Show all metrics in the text format of Prometheus, to anyone who has ``AUTOTASK_METRICS_TOKEN``.

    Without that setting it answers 403, without the token 401, and while the database is away 503.
    """
    tokens = settings.METRICS_TOKEN
    if not tokens:
        return _refusal(403, "Set AUTOTASK_METRICS_TOKEN, and send it in the header: Authorization: Bearer TOKEN")
    if not _has_one_of(request, tokens):
        return _refusal(401, "Send AUTOTASK_METRICS_TOKEN in the header: Authorization: Bearer TOKEN")
    try:
        connection = current()
        if not tables.are_there(connection):
            return _refusal(503, str(TablesMissing(alias=settings.DATABASE, command=advice.migrate(settings.DATABASE))))
        text = "\n".join(lines(connection)) + "\n"
    except (DatabaseError, InterfaceError) as error:
        return _refusal(503, f"The database is not available: {one_line(describe(error).strip())}")
    return HttpResponse(text, content_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"})


def _has_one_of(request: HttpRequest, tokens: tuple[str, ...]) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").strip().partition(" ")
    sent = given.strip().encode(errors="surrogateescape")
    # All are compared, so that the time says nothing about which is right.
    found = [hmac.compare_digest(sent, token.encode()) for token in tokens]
    return scheme.lower() == "bearer" and any(found)


def _refusal(status: int, text: str) -> HttpResponse:
    response = HttpResponse(f"{text}\n", status=status, content_type="text/plain; charset=utf-8")
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    response.headers["Cache-Control"] = "no-store"
    return response
