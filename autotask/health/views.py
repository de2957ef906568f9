"""The view for load balancers, monitoring and probes over HTTP."""

import json

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from autotask.health.examination import MAX_AGE, Bounds, document, is_healthy, of_site
from autotask.store.connection import current


@login_not_required
@require_safe
def view(
    request: HttpRequest, max_age: float | None = MAX_AGE, max_backlog: int | None = None, min_workers: int = 1
) -> HttpResponse:
    """Answer 200 if tasks are worked on, and 503 if not, with a JSON document that says why.

    The bounds stand in the ``urls`` of the project: ``path("health/", autotask.health.view, {"max_backlog": 1000})``.

    :param max_age: seconds that the oldest ready task may have waited; None: any time.
    :param max_backlog: how many tasks may be ready; None: any number.
    :param min_workers: how many workers have to live.
    """
    checks = of_site(current, Bounds(max_age, max_backlog, min_workers))
    status = 200 if is_healthy(checks) else 503
    text = json.dumps(document(checks, in_full=False))
    return HttpResponse(text, status=status, content_type="application/json", headers={"Cache-Control": "no-store"})
