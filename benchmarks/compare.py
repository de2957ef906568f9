"""``python -m benchmarks compare``: autotask and other queues, interleaved, each in its own environment.

Each round measures every queue once before the next round begins, so that other load on the machine affects all of
them alike. Ratios are taken in each round, and their median is shown.
"""

import argparse
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import environments, machine, table
from benchmarks.arguments import add_common, log_file, positive, positive_seconds, sizes
from benchmarks.errors import BenchmarkError
from benchmarks.figures import Spread, ratios, write
from benchmarks.order import Order
from benchmarks.peers import PEERS, Peer, parse
from benchmarks.server import measured_server, own_server
from benchmarks.session import RunFailed, Session, session

#: For each metric: the figure that is compared, its unit, other figures that are shown, and the number of tasks.
METRICS = {
    "drain": ("rate", "tasks/s", ("worker_cpu_us", "server_cpu_us", "wal_bytes", "duplicates"), 20_000),
    "enqueue": ("rate", "tasks/s", ("client_cpu_us",), 3_000),
    "bulk": ("rate", "tasks/s", ("client_cpu_us",), 10_000),
    "latency": ("p50_ms", "ms", ("p95_ms", "p99_ms", "call_p50_ms"), 0),
    "roundtrip": ("p50_ms", "ms", ("p95_ms", "p99_ms"), 0),
    "claim_buffers": ("claim", "pages", ("find",), 20_000),
}

#: What autotask is compared with, unless something is asked for.
DEFAULT = "pgqueuer:batch100,procrastinate:c10,django-tasks-db,reference"

#: The name of the other checkout of autotask.
BEFORE = "before"

#: A queue that was asked for: the peer, its configuration, and its number of tasks if it differs from the others'.
Entry = tuple[Peer, str, int | None]

#: By queue, the figures of each round.
Rounds = dict[str, list[dict[str, Any]]]


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks compare",
        description="Compare autotask with other task queues: each in its own virtual environment, all on one "
        "server, in turns.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="queues and their configurations:\n" + _known(),
    )
    made.add_argument("metric", nargs="?", choices=METRICS, default="drain", help="what to measure (default: drain)")
    made.add_argument(
        "--with",
        dest="peers",
        type=_entries,
        metavar="QUEUE[:CONFIG][@TASKS],...",
        help="the queues to compare with; @TASKS for queues that are too slow for as many tasks as the others "
        f"(default: {DEFAULT}; with --before none)",
    )
    made.add_argument(
        "--before",
        type=_checkout,
        metavar="FOLDER",
        help="another checkout of autotask, such as one without your change, to compare with first of all",
    )
    made.add_argument(
        "--against", metavar="QUEUE[:CONFIG]", help="the queue that ratios refer to (default: the first one)"
    )
    made.add_argument("--autotask", default="default", metavar="CONFIG", help="configuration of autotask")
    made.add_argument("--repeat", type=positive, default=3, help="rounds (default: 3)")
    made.add_argument("--tasks", type=positive, help="tasks to drain or to enqueue (default: 20000, 3000, 10000)")
    made.add_argument("--samples", type=positive, default=100, help="samples of a latency (default: 100)")
    made.add_argument("--workers", type=positive, default=1, help="worker processes (default: 1)")
    made.add_argument("--prefill", choices=("none", "future", "ended"), default="none", help="other rows in the tables")
    made.add_argument(
        "--prefill-rows",
        type=sizes,
        default=(1_000_000,),
        metavar="N,...",
        help="how many of these; several numbers, with 0, for a curve",
    )
    made.add_argument("--younger", action="store_true", help="add these rows after the tasks, not before")
    made.add_argument("--fsync-us", type=positive, default=0, metavar="N", help="make each fsync N us slower")
    made.add_argument("--limit", type=positive_seconds, default=60.0, help="seconds for one measurement (default: 60)")
    made.add_argument("--venvs", type=Path, default=environments.default_folder(), help="where to keep environments")
    add_common(made)
    return made


def main(arguments: Sequence[str]) -> None:
    """Measure, print tables, and write JSON if asked to."""
    options = parser().parse_args(arguments)
    entries = _asked(options)
    checkouts = {BEFORE: options.before} if options.before else {}
    against = options.against or _label(entries[1] if len(entries) > 1 else entries[0])
    if against not in map(_label, entries):
        raise BenchmarkError(
            f"--against {against} is not among the measured queues: {', '.join(map(_label, entries))}."
        )
    pythons = {peer.name: environments.ensure(peer, options.venvs) for peer, _, _ in entries if not peer.own}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            own_server(options.data, options.fsync_us) if options.fsync_us else measured_server(options.data)
        )
        opened = stack.enter_context(session(server, stack.enter_context(log_file(options.log)), pythons, checkouts))
        document = {
            "machine": machine.describe(server.description()),
            "peers": {peer.name: environments.versions(peer) for peer, _, _ in entries if not peer.own},
            "fsync_us": options.fsync_us,
            "metric": options.metric,
            "prefill": options.prefill,
            "against": against,
            "results": [],
        }
        for count in options.prefill_rows if options.prefill != "none" else (0,):
            orders = {_label(entry): _order(entry, options, count) for entry in entries}
            found = measure(opened, orders, options.repeat)
            headline = _headline(options, count)
            print(f"\n{headline}\n\n{show(options.metric, found, against)}", flush=True)
            asked = {label: dataclasses.asdict(order) for label, order in orders.items()}
            document["results"].append({"headline": headline, "rows": count, "orders": asked, "rounds": found})
            opened.forget()
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n")


def measure(opened: Session, orders: dict[str, Order], repeat: int) -> Rounds:
    """Carry out all orders in each round; return the figures of each round, or {"error": ...}."""
    found: Rounds = {label: [] for label in orders}
    for number in range(repeat):
        # There and back again: whoever comes first in a round must have no advantage.
        for label, order in list(orders.items())[:: -1 if number % 2 else 1]:
            began = time.monotonic()
            try:
                figures = opened.run(order)
            except RunFailed as error:
                figures = {"error": str(error)}
            found[label].append(figures)
            main_figure, unit, *_ = METRICS[order.metric]
            said = f"{write(figures[main_figure])} {unit}" if main_figure in figures else _why_not(figures)
            seconds = time.monotonic() - began
            print(f"round {number + 1} of {repeat}: {label}: {said} ({seconds:.0f} s)", file=sys.stderr)
    return found


def show(metric: str, found: Rounds, against: str) -> str:
    """Return the results of the rounds, for a terminal."""
    return "\n".join([table.render(head(metric, against), rows(metric, found, against)), *notes(metric, found)])


def head(metric: str, against: str) -> list[str]:
    """Return the titles of the columns."""
    _, unit, others, _ = METRICS[metric]
    return ["queue", unit, "min - max", f"/ {against}", *others]


def rows(metric: str, found: Rounds, against: str) -> list[list[str]]:
    """Return a row for each measured queue: medians, and the median of the ratios of each round."""
    main_figure, _, others, _ = METRICS[metric]
    base = [figures.get(main_figure) for figures in found[against]]
    made = []
    for label, rounds in found.items():
        values = [figures.get(main_figure) for figures in rounds]
        known = [value for value in values if value is not None]
        if not known:
            continue
        spread, shares = Spread.of(known), ratios(values, base)
        made.append(
            [
                label,
                write(spread.median),
                f"{write(spread.least)} - {write(spread.most)}",
                write(Spread.of(shares).median) if shares else "-",
                *(_median(rounds, name) for name in others),
            ]
        )
    return made


def notes(metric: str, found: Rounds) -> list[str]:
    """Return notes on queues whose rounds failed or were incomplete."""
    main_figure = METRICS[metric][0]
    said = []
    for label, rounds in found.items():
        failed = [figures for figures in rounds if main_figure not in figures]
        if failed:
            said.append(f"{label}: in {len(failed)} of {len(rounds)} rounds: {_why_not(failed[0])}")
        if not all(figures.get("complete", True) for figures in rounds if main_figure in figures):
            said.append(f"{label}: did not finish its tasks within the limit")
    return said


def _median(rounds: list[dict[str, Any]], name: str) -> str:
    values = [figures[name] for figures in rounds if figures.get(name) is not None]
    return write(Spread.of(values).median) if values else "-"


def _why_not(figures: dict[str, Any]) -> str:
    return str(figures.get("error", "nothing was measured"))


def _headline(options: argparse.Namespace, count: int) -> str:
    parts = [options.metric, f"{options.workers} worker process{'es' if options.workers > 1 else ''}"]
    if count:
        parts.append(f"{count:,} {options.prefill} rows in the tables, {'younger' if options.younger else 'older'}")
    if options.fsync_us:
        parts.append(f"each fsync {options.fsync_us} us slower")
    return "; ".join(parts)


def _order(entry: Entry, options: argparse.Namespace, count: int) -> Order:
    peer, config, tasks = entry
    return Order(
        peer.name,
        config,
        options.metric,
        tasks=tasks or options.tasks or METRICS[options.metric][-1],
        workers=options.workers,
        prefill=options.prefill if count else "none",
        rows=count,
        younger=options.younger,
        samples=options.samples,
        limit=options.limit,
    )


def _asked(options: argparse.Namespace) -> list[Entry]:
    """Return autotask, the other checkout of it, and the queues to compare with."""
    peer, config = parse(f"autotask:{options.autotask}")
    before: list[Entry] = [(dataclasses.replace(peer, name=BEFORE), config, None)] if options.before else []
    others = _entries("" if before else DEFAULT) if options.peers is None else options.peers
    return [(peer, config, None), *before, *others]


def _checkout(text: str) -> Path:
    folder = Path(text).resolve()
    if not (folder / "benchmarks" / "drivers").is_dir():
        raise argparse.ArgumentTypeError(f"expected a checkout of autotask with its benchmarks, not {text!r}")
    return folder


def _label(entry: Entry) -> str:
    peer, config, _ = entry
    return Order(peer.name, config).label


def _entries(text: str) -> list[Entry]:
    found: list[Entry] = []
    for word in filter(None, text.split(",")):
        name, _, tasks = word.partition("@")
        try:
            found.append((*parse(name), positive(tasks) if tasks else None))
        except BenchmarkError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return found


def _known() -> str:
    return "\n".join(
        f"  {peer.name if config == 'default' else f'{peer.name}:{config}':24} {meaning}"
        for peer in PEERS.values()
        for config, meaning in peer.configs.items()
    )
