"""The chart of the overview: how many tasks ended in each minute, or in each longer step of a longer range."""

from datetime import datetime, timedelta
from typing import Any

from django.utils.translation import gettext, gettext_lazy as _

from autotask.admin import show
from autotask.admin.dashboard import charts
from autotask.admin.dashboard.charts import Kind
from autotask.store import statistics
from autotask.store.connection import current
from autotask.store.statistics import Of
from autotask.texts.localized import whole

#: The ranges by their words in addresses.
RANGES = {
    "1h": (_("1 hour"), timedelta(hours=1)),
    "6h": (_("6 hours"), timedelta(hours=6)),
    "24h": (_("24 hours"), timedelta(hours=24)),
    "7d": (_("7 days"), timedelta(days=7)),
}

KINDS = (
    Kind("done", _("done")),
    Kind("error", _("failed")),
    Kind("wait", _("to be retried")),
    Kind("quiet", _("cancelled")),
)


def chosen(word: str | None) -> str:
    """Return the range that an address names, by default the last hour."""
    return word if word in RANGES else "1h"


def chart(chosen: str, now: datetime) -> dict[str, Any]:
    """Return the chart of one of the :data:`RANGES`."""
    label, length = RANGES[chosen]
    step = statistics.step_for(length.total_seconds())
    found = statistics.timeline(current(), now - length, now + timedelta(minutes=1), step=step)
    points = [
        (found.start + timedelta(seconds=place * step), (each.succeeded, each.failed, each.retried, each.cancelled))
        for place, each in enumerate(found.series[Of()])
    ]
    sums = [sum(counts) for counts in zip(*(counts for _, counts in points), strict=True)]
    each = gettext("minute") if step == statistics.MINUTE else show.duration(timedelta(seconds=step))
    title = gettext("Ended per %(step)s · %(range)s") % {"step": each, "range": label}
    legend = [
        {"word": kind.word, "label": kind.label, "number": whole(number)}
        for kind, number in zip(KINDS, sums, strict=True)
    ]
    in_words = ", ".join(f"{each['number']} {each['label']}" for each in legend)
    return {
        "title": title,
        "drawn": charts.bars(points, KINDS, f"{title}: {in_words}"),
        "highest": whole(max(sum(counts) for _, counts in points)),
        "legend": legend,
        "ranges": [{"word": word, "label": name, "is_current": word == chosen} for word, (name, _) in RANGES.items()],
        "is_empty": not any(sums),
    }
