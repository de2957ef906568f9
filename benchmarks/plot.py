"""A small plot as SVG: lines of rates against the size of tables, both in powers of ten."""

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

#: A line: for each size the rate.
Points = Sequence[tuple[int, float]]

_WIDTH, _HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 230, 24, 50

# Distinguishable for colour-blind readers (Okabe and Ito), and readable on light and dark pages.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c8c", "#a6761d")
_INK = "#808080"


def render(lines: Mapping[str, Points], *, across: str, up: str) -> str:
    """Return an SVG document.

    :param lines: points by label; a size of 0 has its own place at the left.
    :param across: the label of the sizes.
    :param up: the label of the rates.
    """
    sizes = sorted({size for points in lines.values() for size, _ in points})
    rates = [rate for points in lines.values() for _, rate in points]
    lowest, highest = math.floor(math.log10(min(rates))), math.ceil(math.log10(max(rates)))

    def x(size: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * sizes.index(size) / max(1, len(sizes) - 1)

    def y(rate: float) -> float:
        share = (math.log10(rate) - lowest) / max(1, highest - lowest)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share

    parts = [_text(x(size), _HEIGHT - _BOTTOM + 18, f"{size:,}", "middle") for size in sizes]
    for power in range(lowest, highest + 1):
        height = y(10.0**power)
        parts.append(f'<path d="M{_LEFT} {height:.1f}H{_WIDTH - _RIGHT}" stroke="{_INK}" stroke-opacity="0.4"/>')
        parts.append(_text(_LEFT - 8, height + 4, f"{10.0**power:,g}", "end"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 10, across, "middle"))
    parts.append(_text(_LEFT, _TOP - 10, up, "start"))
    heights = _apart({label: y(points[-1][1]) for label, points in lines.items()})
    for (label, points), colour in zip(lines.items(), _COLOURS * len(lines), strict=False):
        route = " ".join(f"{x(size):.1f},{y(rate):.1f}" for size, rate in points)
        parts.append(f'<polyline points="{route}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts += [f'<circle cx="{x(size):.1f}" cy="{y(rate):.1f}" r="4" fill="{colour}"/>' for size, rate in points]
        parts.append(_text(_WIDTH - _RIGHT + 12, heights[label] + 4, label, "start", colour))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="13">\n{body}\n</svg>\n'
    )


def _apart(heights: Mapping[str, float], distance: float = 16) -> dict[str, float]:
    """Move labels down so that none covers another."""
    placed: dict[str, float] = {}
    last = -math.inf
    for label in sorted(heights, key=lambda label: heights[label]):
        last = placed[label] = max(heights[label], last + distance)
    return placed


def _text(x: float, y: float, text: str, anchor: str, colour: str = _INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
