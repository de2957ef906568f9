"""``background``: the background workers, and to start, stop and trigger them."""

from argparse import ArgumentParser
from collections.abc import Sequence

from autotask.acts import background as acts
from autotask.acts.answers import Refusal
from autotask.management import background_lines
from autotask.management.console import FAILED, NOT_FOUND, USAGE, Console, failure, open_tables
from autotask.management.subcommand import Subcommand
from autotask.store import background_read
from autotask.store.schedules import now
from autotask.texts import render

_ACTS = {
    "start": (acts.start, "started"),
    "stop": (acts.stop, "to stop"),
    "trigger": (acts.trigger, "triggered"),
    "forget": (acts.forget, "forgotten"),
}


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("act", nargs="?", choices=list(_ACTS), help="What to do. Default: list them.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="Names of background workers.")
    parser.add_argument("--json", action="store_true", help="Print one JSON document.")


def run(console: Console, *, act: str | None, names: Sequence[str], json: bool) -> None:
    """List background workers, or do something to some of them."""
    connection = open_tables()
    if act is not None:
        _do(console, act, names)
        return
    found, moment = background_read.read(connection), now(connection)
    if json:
        console.say(render.as_json(background_lines.document(found, moment)))
    elif found:
        shown = [line for stored in found for line in ("", *background_lines.lines(stored, moment))]
        console.say(*shown[1:])
    else:
        console.complain(
            "There are no background workers. Decorate a function with @background_worker, and start a worker."
        )


def _do(console: Console, act: str, names: Sequence[str]) -> None:
    if not names:
        raise failure(f"Give the name of a background worker: autotask background {act} NAME", USAGE)
    do, done = _ACTS[act]
    refused = []
    for answer in do(names):
        if answer.refused is None:
            console.say(f"{answer.key} is {done}")
        else:
            assert isinstance(answer.refused, Refusal)
            refused.append((answer.key, answer.refused))
    if refused:
        listed = "; ".join(f"{name} is {why.value}" for name, why in refused)
        code = NOT_FOUND if any(why is Refusal.NOT_REGISTERED for _, why in refused) else FAILED
        raise failure(f"{listed}.", code)


SUBCOMMAND = Subcommand(
    name="background",
    help="List background workers; start, stop or trigger some.",
    description="List the background workers in the code of the workers: kind and state, the workers that host them, "
    "how often they ran and failed, and how many values wait. Or start, stop or trigger some, by name. A "
    "stopped background worker finishes its current run, and stays stopped through deployments until "
    "somebody starts it. Use forget for background workers that are no longer in the code.",
    examples=(
        ("background", "all of them"),
        ("background stop shop.tasks.poll", "let one stop after its current run"),
        ("background --json | jq '.background_workers[] | select(.state == \"starting\")'", "those without a host"),
    ),
    add_arguments=add_arguments,
    run=run,
)
