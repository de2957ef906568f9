"""Charts as SVG: they need no script, follow the colours of the page, and can be printed."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.utils import timezone
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

from autotask.texts.localized import whole

#: The size of a chart in its own units; the page stretches it.
WIDTH = 720
HEIGHT = 120


class Kind(NamedTuple):
    """The meaning of the parts of the bars.

    :ivar word: of the style sheet, for the colour.
    """

    word: str
    label: object


#: A moment, and a count for each kind.
Point = tuple[datetime, Sequence[int]]


def bars(points: Sequence[Point], kinds: Sequence[Kind], label: object) -> SafeString:
    """Return bars, one for each point, with the counts of the kinds upon each other and as text to hover over.

    :param label: describes the chart to those who cannot see it.
    """
    highest = max((sum(counts) for _, counts in points), default=0) or 1
    step = WIDTH / (len(points) or 1)
    labels = [escape(str(kind.label)) for kind in kinds]
    drawn = "".join(
        f"<g><title>{_title(moment, counts, labels)}</title>{_bar(index * step, step, counts, kinds, HEIGHT / highest)}</g>"
        for index, (moment, counts) in enumerate(points)
    )
    return format_html(
        '<svg class="autotask-chart" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>',
        WIDTH,
        HEIGHT,
        label,
        mark_safe(drawn),  # of numbers, our own words and escaped labels: to escape each would take most of the time
    )


def _title(moment: datetime, counts: Sequence[int], labels: Sequence[str]) -> str:
    local = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    parts = [f"{whole(number)} {label}" for number, label in zip(counts, labels, strict=True) if number]
    return f"{local:%H:%M} · {', '.join(parts) or 0}"


def _bar(left: float, step: float, counts: Sequence[int], kinds: Sequence[Kind], scale: float) -> str:
    # A wide bar without colour, so that low ones can be hovered over, too.
    drawn = _rectangle(left, 0, step, HEIGHT, "nothing")
    top = float(HEIGHT)
    for number, kind in zip(counts, kinds, strict=True):
        if number:
            height = max(1.5, number * scale)  # a single failure among thousands is seen
            top -= height
            drawn += _rectangle(left + step * 0.1, top, step * 0.8, height, kind.word)
    return drawn


def _rectangle(x: float, y: float, width: float, height: float, word: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" class="autotask-fill-{word}"/>'
