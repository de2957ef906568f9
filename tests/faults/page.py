"""``python -m tests.faults.page faults.json``: write the table of the documentation from the results of the suite."""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.faults.report import Figure

#: The page that includes it is ``guarantees.rst``.
PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "guarantees_figures.rst"

_HEAD = """\
.. Written by: python -m tests.faults.page. Do not edit.

{origin}

.. list-table::
    :header-rows: 1
    :widths: 4 26 10 50 10

    * - No.
      - fault
      - holds
      - figures and budgets
      - verdict
"""


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    made = argparse.ArgumentParser(
        prog="python -m tests.faults.page",
        description="Write docs/explanation/guarantees_figures.rst from the file of tox -e faults --faults-json.",
    )
    made.add_argument("file", type=Path, metavar="faults.json")
    made.add_argument("--to", type=Path, default=PAGE, metavar="FILE", help="default: the page of the documentation")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the results, and write the page."""
    options = parser().parse_args(arguments)
    options.to.write_text(render(json.loads(options.file.read_text(encoding="utf-8"))), encoding="utf-8")


def render(document: dict[str, Any]) -> str:
    """Return the table as reStructuredText."""
    return _HEAD.format(origin=_origin(document)) + "".join(_row(fault) for fault in document["faults"])


def worst(figures: Iterable[Figure]) -> list[tuple[Figure, int]]:
    """Return for each name the worst figure, nearest to its budget or farthest beyond, and how many there are."""
    found: dict[tuple[str, str, str], list[Figure]] = {}
    for figure in figures:
        found.setdefault((figure.name, figure.unit, figure.budget), []).append(figure)
    return [(_worst(same), len(same)) for same in found.values()]


def _worst(figures: list[Figure]) -> Figure:
    if missed := [figure for figure in figures if not figure.kept]:
        figures = missed
    choose = min if figures[0].budget.startswith("≥") else max
    return choose(figures, key=lambda figure: figure.value)


def _origin(document: dict[str, Any]) -> str:
    machine = document["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
    extent = "All faults" if document["full"] else "The quick faults only"
    return (
        f"{extent}, seed {document['seed']}. {machine['cpus']} CPUs ({machine['cpu']}), {machine['memory_gib']} GiB, "
        f"{machine['system']}; Python {machine['python']}; {packages}."
    )


def _row(fault: dict[str, Any]) -> str:
    figures = [Figure(**figure) for test in fault["tests"] for figure in test["figures"]]
    lines = [_line(figure, count) for figure, count in worst(figures)]
    elsewhere = fault["reason"].startswith("elsewhere")
    verdict = ": ".join(filter(None, ["" if elsewhere else fault["verdict"], fault["reason"]]))
    cells = [fault["number"], fault["title"], " ".join(fault["invariants"]), None, verdict]
    shown = ["" if cell is None else _escaped(str(cell)) for cell in cells]
    shown[3] = "\n        ".join(f"| {_escaped(line)}" for line in lines)
    return f"    * - {shown[0]}\n" + "".join(f"      - {cell}".rstrip() + "\n" for cell in shown[1:])


def _line(figure: Figure, count: int) -> str:
    which = "largest" if figure.budget == "no budget" else "worst"
    return f"{figure}, the {which} of {count}" if count > 1 else str(figure)


def _escaped(text: str) -> str:
    return "".join("\\" + character if character in "\\*`|_" else character for character in text)


if __name__ == "__main__":
    main()
