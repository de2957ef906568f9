"""``resign``: sign payloads of an older key again with the current key."""

from argparse import ArgumentParser
from collections import Counter

from autotask.acts import resigning
from autotask.acts.resigning import Findings
from autotask.management.console import Console, failure, open_tables
from autotask.management.subcommand import Subcommand
from autotask.store.resign import PayloadColumn
from autotask.texts.render import count

#: Refused payloads that are named.
MOST_NAMED = 20


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("--dry-run", action="store_true", help="Only count them, and verify all signatures.")


def run(console: Console, *, dry_run: bool) -> None:
    """Sign again in batches, each in its own transaction, and report failures."""
    connection = open_tables()
    if dry_run:
        found = resigning.examine(connection)
        console.say(f"{_listed(found.outdated)} would be signed again.")
    else:
        found = resigning.resign_all(connection)
        console.say(f"{_listed(found.written)} signed again.")
    console.say(f"{count(found.current, 'payload')} signed with the current key{'' if dry_run else ' now'}.")
    _complain(console, found)
    if not dry_run and (locked := found.outdated.total()):
        raise failure(f"{count(locked, 'payload')} could not be signed again: their rows were locked. Run this again.")
    if found.refused:
        raise failure(f"{count(len(found.refused), 'payload')} refused, and left unchanged.")


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
    help="Sign payloads of older keys again with the current key.",
    description="Sign arguments and results that were signed with a key in SECRET_KEY_FALLBACKS or "
    "AUTOTASK_SIGNING_KEY_FALLBACKS again with the current key, so that you can remove the old key. All "
    "processes must have the new key first. Workers continue meanwhile. Payloads with an invalid "
    "signature are listed and left alone; then the exit code is 1. Do not use this if a key has leaked: "
    "it would also sign payloads that somebody else has signed with that key.",
    examples=(
        ("resign --dry-run", "count them, and verify all signatures"),
        ("resign", "when each process has the new key, before the old one is removed"),
    ),
    add_arguments=add_arguments,
    run=run,
)
