"""Why tasks failed: the newest failures by cause."""

from typing import TYPE_CHECKING, Any

from autotask.admin import show
from autotask.admin.bulk_words import Word
from autotask.admin.dashboard.viewer import Viewer
from autotask.store import causes
from autotask.store.causes import Cause
from autotask.store.connection import current
from autotask.texts.localized import whole

if TYPE_CHECKING:
    from autotask.admin.dashboard.pages import DashboardAdmin

#: Causes that are listed.
MOST_CAUSES = 100


def shown(page: "DashboardAdmin", viewer: Viewer) -> dict[str, Any]:
    """Return the context of the page."""
    found = causes.causes(current())
    failed = sum(cause.count for cause in found)
    address = viewer.tasks_address
    words = [] if address is None else viewer.acts
    return {
        "may_retry": Word.RETRY in words,
        "may_discard": Word.DISCARD in words,
        "all_address": f"{address}all/",
        "causes": [_cause(cause, page) for cause in found[:MOST_CAUSES]],
        "number": len(found),
        "failed": whole(failed),
        "is_full": failed >= causes.WINDOW,
        "window": whole(causes.WINDOW),
        "more": len(found) - MOST_CAUSES,
    }


def _cause(cause: Cause, page: "DashboardAdmin") -> dict[str, Any]:
    return {
        "key": cause.key,
        "name": show.name(cause.name),
        "error": show.link(page.task_address(cause.newest), show.shortened(cause.error, 160)),
        "is_one": cause.texts == 1,
        "count": whole(cause.count),
        "first": show.moment(cause.first),
        "last": show.moment(cause.last),
    }
