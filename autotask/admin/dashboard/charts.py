"""Charts as SVG: they need no script, follow the colours of the page, and can be printed."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

#: The size of a chart in its own units; the page stretches it.
WIDTH = 720
HEIGHT = 120


class Kind(NamedTuple):
    """What the parts of the bars count.

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
    drawn = format_html_join(
        "",
        "<g><title>{}</title>{}</g>",
        (
            (_title(moment, counts, kinds), _bar(index * step, step, counts, kinds, HEIGHT / highest))
            for index, (moment, counts) in enumerate(points)
        ),
    )
    return format_html(
        '<svg class="autotask-chart" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>',
        WIDTH,
        HEIGHT,
        label,
        drawn,
    )


def _title(moment: datetime, counts: Sequence[int], kinds: Sequence[Kind]) -> str:
    local = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    parts = [f"{number:,} {kind.label}" for number, kind in zip(counts, kinds, strict=True) if number]
    return f"{local:%H:%M} · {', '.join(parts) or 0}"


def _bar(left: float, step: float, counts: Sequence[int], kinds: Sequence[Kind], scale: float) -> SafeString:
    # A wide bar without colour, so that low ones can be hovered over, too.
    parts = [(left, 0.0, step, float(HEIGHT), "nothing")]
    top = float(HEIGHT)
    for number, kind in zip(counts, kinds, strict=True):
        if number:
            height = max(1.5, number * scale)  # a single failure among thousands is seen
            top -= height
            parts.append((left + step * 0.1, top, step * 0.8, height, kind.word))
    return format_html_join(
        "",
        '<rect x="{}" y="{}" width="{}" height="{}" class="autotask-fill-{}"/>',
        ((f"{x:.1f}", f"{y:.1f}", f"{width:.1f}", f"{height:.1f}", word) for x, y, width, height, word in parts),
    )
