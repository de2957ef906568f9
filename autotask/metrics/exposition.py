"""The text format of Prometheus, version 0.0.4: pure functions from numbers to lines."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

#: The type of the content. (Prometheus documentation, "Exposition formats".)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: The labels of a sample, by name.
Labels = Mapping[str, str]


def family(
    name: str, kind: Literal["counter", "gauge"], meaning: str, samples: Iterable[tuple[Labels, float]]
) -> list[str]:
    """Return the lines of a counter or a gauge."""
    return [*_head(name, kind, meaning), *(_sample(name, labels, value) for labels, value in samples)]


def histograms(
    name: str, meaning: str, bounds: Sequence[float], samples: Iterable[tuple[Labels, Sequence[int], float]]
) -> list[str]:
    """Return the lines of a histogram.

    :param bounds: the upper bounds of its buckets, without that of the last one, which is infinite.
    :param samples: for each the labels, the numbers in the buckets, and the sum of all values.
    """
    lines = _head(name, "histogram", meaning)
    for labels, numbers, total in samples:
        below = 0
        for bound, number in zip([*map(_bound, bounds), "+Inf"], numbers, strict=True):
            below += number
            lines.append(_sample(f"{name}_bucket", {**labels, "le": bound}, below))
        lines += [_sample(f"{name}_sum", labels, total), _sample(f"{name}_count", labels, below)]
    return lines


def _head(name: str, kind: str, meaning: str) -> list[str]:
    return [f"# HELP {name} {_escaped(meaning)}", f"# TYPE {name} {kind}"]


def _sample(name: str, labels: Labels, value: float) -> str:
    inside = ",".join(f'{label}="{_quoted(text)}"' for label, text in labels.items())
    return f"{name}{{{inside}}} {value!r}" if inside else f"{name} {value!r}"


def _bound(seconds: float) -> str:
    return repr(round(seconds, 3))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')
