"""``resign``: sign anew what an older key has signed."""

from argparse import ArgumentParser
from collections import Counter

from autotask.acts import resigning
from autotask.acts.resigning import Findings
from autotask.management.console import Console, failure, open_tables
from autotask.management.subcommand import Subcommand
from autotask.store.resign import PayloadColumn
from autotask.texts.render import count

#: Of those that are refused, so many are named.
MOST_NAMED = 20


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("--dry-run", action="store_true", help="Only say how many there are.")


def run(console: Console, *, dry_run: bool) -> None:
    """Sign anew in batches, each in a transaction of its own; say what could not be."""
    connection = open_tables()
    if dry_run:
        found = resigning.examine(connection)
        console.say(f"{_listed(found.outdated)} would be signed anew.")
    else:
        found = resigning.resign_all(connection)
        console.say(f"{_listed(found.written)} signed anew.")
    console.say(f"{count(found.current, 'payload')} signed with the present key{'' if dry_run else ' now'}.")
    _complain(console, found)
    if not dry_run and (locked := found.outdated.total()):
        raise failure(f"{count(locked, 'payload')} could not be signed anew: locked by others. Run it again.")
    if found.refused:
        raise failure(f"{count(len(found.refused), 'payload')} refused, and left as they are.")


def _listed(counts: Counter[PayloadColumn]) -> str:
    parts = ", ".join(f"{number} {place.what}" for place, number in counts.items() if number)
    return count(counts.total(), "payload") + (f" ({parts})" if parts else "")


def _complain(console: Console, found: Findings) -> None:
    for place, error in found.refused[:MOST_NAMED]:
        console.complain(f"{place.what}: {error}")
    if len(found.refused) > MOST_NAMED:
        console.complain(f"… and {len(found.refused) - MOST_NAMED} more")


SUBCOMMAND = Subcommand(
    name="resign",
    help="Sign anew what an older key has signed.",
    description="Sign arguments and results with the present key that a key in SECRET_KEY_FALLBACKS or "
    "AUTOTASK_SIGNING_KEY_FALLBACKS has signed, so that the old key can be removed. All processes must have the new "
    "key by then. Workers go on meanwhile. What does not verify is named and left alone; then the exit code is 1. Not "
    "for a key that has leaked: what others have signed with it would be signed anew as well.",
    examples=(
        ("resign --dry-run", "how many there are, and whether all signatures verify"),
        ("resign", "after each process has the new key, and before the old one is removed"),
    ),
    add_arguments=add_arguments,
    run=run,
)
