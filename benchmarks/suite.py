"""``python -m benchmarks``: autotask by itself, figure by figure, with its targets."""

import argparse
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import machine, table
from benchmarks.arguments import add_common, log_file, positive
from benchmarks.errors import BenchmarkError, NotRun
from benchmarks.figures import Spread, write
from benchmarks.measures import MEASURES
from benchmarks.measures.measure import Bench, Figure, Measure, Scale
from benchmarks.server import measured_server
from benchmarks.session import session

#: By measure and figure, one value for each round.
Values = dict[str, dict[str, list[float]]]


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure autotask on this machine: on the PostgreSQL that DATABASE_URL or PGHOST names (in databases "
        "of its own, dropped afterwards), otherwise on a new one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="measures:\n"
        + "\n".join(f"  {measure.name:10} {measure.text}" for measure in MEASURES.values())
        + "\n\nSee also: python -m benchmarks compare --help, python -m benchmarks report --help",
    )
    made.add_argument("measures", nargs="*", type=_measure, metavar="measure", help="what to measure (default: all)")
    made.add_argument("--repeat", type=positive, help="rounds (default: 3, or 1 with --quick)")
    made.add_argument("--tasks", type=positive, help="tasks to drain (default: 20000, or 5000 with --quick)")
    made.add_argument("--quick", action="store_true", help="less of everything, for a first impression")
    add_common(made)
    return made


def main(arguments: Sequence[str]) -> None:
    """Measure, print a table, and write JSON if asked to."""
    options = parser().parse_args(arguments)
    measures = [MEASURES[name] for name in options.measures or MEASURES]
    scale = Scale.quick() if options.quick else Scale()
    if options.tasks:
        scale = dataclasses.replace(scale, tasks=options.tasks)
    repeat = options.repeat or (1 if options.quick else 3)
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(log_file(options.log))
        server = stack.enter_context(measured_server(options.data))
        described = machine.describe(server.description())
        opened = stack.enter_context(session(server, log))
        values, failures = take(measures, Bench(opened, scale, log, options.data), repeat)
    print(show(measures, values, failures))
    if options.json:
        document = {
            "machine": described,
            "scale": dataclasses.asdict(scale),
            "repeat": repeat,
            "figures": [_to_json(name, figure, spread, rounds) for name, figure, spread, rounds in each(values)],
            "not_run": failures,
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n")


def take(measures: Sequence[Measure], bench: Bench, repeat: int) -> tuple[Values, dict[str, str]]:
    """Take all measures in each round; return the figures, and the reasons for missing ones."""
    values: Values = {measure.name: {} for measure in measures}
    failures: dict[str, str] = {}
    began = time.monotonic()
    plan = [(number, measure) for number in range(repeat) for measure in measures if number == 0 or not measure.once]
    for step, (number, measure) in enumerate(plan, start=1):
        if measure.name in failures:
            continue
        minutes, seconds = divmod(int(time.monotonic() - began), 60)
        _say(f"{minutes:3}:{seconds:02}  {step}/{len(plan)}  round {number + 1} of {repeat}: {measure.text}")
        try:
            figures = measure.take(bench)
        except (NotRun, BenchmarkError) as error:
            failures[measure.name] = str(error)
            _say(f"        {measure.name} was not measured: {error}")
            continue
        for figure in measure.figures:
            if figure.key in figures:
                values[measure.name].setdefault(figure.key, []).append(figures[figure.key])
    return values, failures


def each(values: Values) -> list[tuple[str, Figure, Spread, list[float]]]:
    """Return all figures that have values: name of the measure, figure, spread, values."""
    return [
        (name, figure, Spread.of(found[figure.key]), found[figure.key])
        for name, found in values.items()
        for figure in MEASURES[name].figures
        if figure.key in found
    ]


def show(measures: Sequence[Measure], values: Values, failures: Mapping[str, str]) -> str:
    """Return the table of the results."""
    rows = [
        [
            name,
            figure.text,
            write(spread.median),
            f"{write(spread.least)} - {write(spread.most)}" if len(found) > 1 else "",
            figure.unit,
            figure.target,
            figure.verdict(spread.median),
        ]
        for name, figure, spread, found in each(values)
    ]
    head = ["measure", "figure", "median", "min - max", "unit", "target", ""]
    notes = [
        f"{measure.name} was not measured: {failures[measure.name]}" for measure in measures if measure.name in failures
    ]
    return "\n".join([table.render(head, rows, left=2), *notes])


def _to_json(name: str, figure: Figure, spread: Spread, values: list[float]) -> dict[str, Any]:
    return {
        "measure": name,
        "key": figure.key,
        "text": figure.text,
        "unit": figure.unit,
        "target": figure.target,
        "verdict": figure.verdict(spread.median),
        "median": spread.median,
        "values": values,
    }


def _measure(text: str) -> str:
    if text not in MEASURES:
        raise argparse.ArgumentTypeError(f"there is no measure {text!r}. There are: {', '.join(MEASURES)}.")
    return text


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
