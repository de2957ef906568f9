"""``python -m benchmarks report``: write the tables and the plot of the documentation from figures in JSON."""

import argparse
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import compare, plot
from benchmarks.errors import BenchmarkError
from benchmarks.figures import Spread, write
from benchmarks.measures import curve

ROOT = Path(__file__).parent.parent

#: The folder and the files of the tables and the plot.
FOLDER = ROOT / "docs" / "explanation"
TABLES = "performance_figures.rst"
PLOT = "performance_curve.svg"

#: The line of the README before its figures.
MARK = ".. The next paragraph is written by: python -m benchmarks report\n\n"

#: The sentences of the README, by figure.
_IN_SHORT = {
    ("drain", "rate"): "one worker runs {} no-op tasks a second",
    ("enqueue", "rate"): "a process makes {} calls a second, each with its own commit",
    ("bulk", "rate"): "or {} with ``enqueue_many()``",
    ("latency", "p50_ms"): "a call to an idle companion reaches the first line of its function after {} ms",
    ("roundtrip", "wait_p50_ms"): "and its result is back after {} ms",
}

Document = dict[str, Any]


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks report",
        description=f"Write {TABLES}, {PLOT} and a paragraph of the README from the JSON files of the benchmarks: one file of "
        "python -m benchmarks, and any number of python -m benchmarks compare. The plot shows the measure 'curve' of the "
        "first, and those others that have --prefill.",
    )
    made.add_argument("files", nargs="+", type=Path, metavar="file.json")
    made.add_argument("--to", type=Path, default=FOLDER, metavar="FOLDER", help="default: docs/explanation")
    made.add_argument("--readme", type=Path, default=ROOT / "README.rst", metavar="FILE", help="default: README.rst")
    return made


def main(arguments: Sequence[str]) -> None:
    """Read the figures and write the files."""
    options = parser().parse_args(arguments)
    documents = [_read(path) for path in options.files]
    suites = [document for document in documents if "figures" in document]
    comparisons = [document for document in documents if "results" in document]
    (options.to / TABLES).write_text(render(suites, comparisons), encoding="utf-8")
    lines = curves(suites, comparisons)
    if lines:
        picture = plot.render(lines, across="other rows in the tables", up="no-op tasks a second, one worker")
        (options.to / PLOT).write_text(picture, encoding="utf-8")
    for document in suites[:1]:
        readme = options.readme.read_text(encoding="utf-8")
        options.readme.write_text(in_short(document, readme), encoding="utf-8")


def render(suites: Sequence[Document], comparisons: Sequence[Document]) -> str:
    """Return the tables as reStructuredText."""
    parts = [".. Written by: python -m benchmarks report. Do not edit.\n"]
    for document in suites:
        parts += [_heading("autotask by itself"), _origin(document), _figures(document)]
    if comparisons:
        parts.append(_heading("Compared with other queues"))
        parts += list(dict.fromkeys(_origin(document) for document in comparisons))
    for document in comparisons:
        for result in document["results"]:
            metric, against, found = document["metric"], document["against"], result["rounds"]
            head = compare.head(metric, against)
            parts.append(_table(f"{result['headline']}.", head, compare.rows(metric, found, against)))
            parts += [f"* {note}\n" for note in compare.notes(metric, found)]
    return "\n".join(parts)


def curves(suites: Sequence[Document], comparisons: Sequence[Document]) -> dict[str, list[tuple[int, float]]]:
    """Return the lines of the plot: rates against sizes, by label."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for document in suites:
        medians = {figure["key"]: figure["median"] for figure in document["figures"] if figure["measure"] == "curve"}
        for kind, points in curve.points(medians, document["scale"]["rows"]).items():
            lines[f"autotask, {kind} rows"] = points
    for document in comparisons:
        if document["metric"] != "drain" or document["prefill"] == "none":
            continue
        for result in document["results"]:
            for label, order in result["orders"].items():
                rates = [figures["rate"] for figures in result["rounds"][label] if "rate" in figures]
                if order["peer"] != "autotask" and rates:
                    points = lines.setdefault(f"{label}, {document['prefill']} rows", [])
                    points.append((result["rows"], Spread.of(rates).median))
    return lines


def in_short(document: Document, readme: str) -> str:
    """Return the README with the main figures in their paragraph.

    :raises BenchmarkError: the README has no such paragraph.
    """
    before, mark, after = readme.partition(MARK)
    if not mark:
        raise BenchmarkError(f"There is no line {MARK.strip()!r} in the README.")
    medians = {(figure["measure"], figure["key"]): write(figure["median"]) for figure in document["figures"]}
    machine = document["machine"]
    said = [text.format(medians[key]) for key, text in _IN_SHORT.items() if key in medians]
    where = f"PostgreSQL {machine['postgresql']['version'].split()[0]} and Python {machine['python']}"
    paragraph = f"On {machine['cpus']} CPUs ({machine['cpu']}) with {where}: {'; '.join(said)}."
    _, end, rest = after.partition("\n\n")
    return before + mark + textwrap.fill(paragraph, 120, break_on_hyphens=False) + end + rest


def _read(path: Path) -> Document:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{path} cannot be read: {error}") from None
    if not isinstance(document, dict) or not {"figures", "results"} & document.keys():
        raise BenchmarkError(f"{path} was not written by python -m benchmarks --json.")
    found: Document = document
    return found


def _heading(text: str) -> str:
    return f"\n{text}\n{'~' * len(text)}\n"


def _origin(document: Document) -> str:
    """Return a sentence about the machine and the versions."""
    machine, peers = document["machine"], document.get("peers", {})
    server = machine["postgresql"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
    durable = ", ".join(f"``{name}={server[name]}``" for name in ("fsync", "synchronous_commit"))
    others = f" The others: {'; '.join(peers.values())}." if peers else ""
    return (
        f"{machine['cpus']} CPUs ({machine['cpu']}), {machine['memory_gib']} GiB, {machine['system']}; "
        f"PostgreSQL {server['version']}, {durable}; Python {machine['python']}; {packages}.{others}\n"
    )


def _figures(document: Document) -> str:
    rows = [
        [
            figure["text"],
            write(figure["median"]),
            f"{write(min(figure['values']))} - {write(max(figure['values']))}",
            figure["unit"],
            figure["target"],
            figure["verdict"].lower(),
        ]
        for figure in document["figures"]
    ]
    scale, rounds = document["scale"], document["repeat"]
    title = (
        f"Medians of {rounds} round{'s' if rounds > 1 else ''}; {scale['tasks']:,} tasks in a drain; "
        f"{scale['rows']:,} rows in large tables."
    )
    found = _table(title, ["figure", "median", "min - max", "unit", "target", ""], rows)
    missing = [f"* not measured: {name}: {reason}\n" for name, reason in document["not_run"].items()]
    return "\n".join([found, *missing])


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f".. list-table:: {title}", "    :header-rows: 1", ""]
    for row in (head, *rows):
        lines += [f"    {'* -' if number == 0 else '  -'} {text}".rstrip() for number, text in enumerate(row)]
    return "\n".join([*lines, ""])
