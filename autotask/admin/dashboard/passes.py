"""Passes: viewers who were allowed to see a page a moment ago get the next copies of its part without being looked up again.

The lookup of session, user and rights costs more than all the rest of a refresh: four queries, and on most sites a new
connection.
"""

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner
from django.http import HttpRequest, HttpResponse

#: Seconds for which a pass is valid. Somebody who has just lost the right to a page can see it for this long.
SECONDS = 20

#: The header of a refresh with its pass, and of an answer with a new one.
HEADER = "X-Autotask-Pass"


def give(request: HttpRequest, response: HttpResponse, key: str) -> HttpResponse:
    """Return the response with a pass to a part.

    :param key: that of the part, without secrets: the reader sees it.
    """
    if _session(request):
        response[HEADER] = _signer(request).sign(key)
    return response


def key_in(request: HttpRequest) -> str | None:
    """Return the key in the pass of a request; None: it has none for this page, or one that is too old."""
    if (given := request.headers.get(HEADER)) is None or not _session(request):
        return None
    try:
        return _signer(request).unsign(given, max_age=SECONDS)
    except BadSignature:
        return None


def _session(request: HttpRequest) -> str:
    """Return the key of the session, to which a pass is bound; "": the site knows its users in another way."""
    return request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")


def _signer(request: HttpRequest) -> TimestampSigner:
    # Of no use to others, and none after the logout.
    return TimestampSigner(salt=f"autotask.dashboard.{request.path}.{_session(request)}")
