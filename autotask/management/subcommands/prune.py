"""``prune``: delete results past their time to live, now."""

from argparse import ArgumentParser

from autotask.conf import settings
from autotask.management.arguments import duration
from autotask.management.console import Console, open_tables
from autotask.management.subcommand import Subcommand
from autotask.store import prune
from autotask.texts.render import count


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument(
        "--older-than",
        type=duration(),
        default=0.0,
        metavar="DURATION",
        help="Only results whose time to live has been over for DURATION (90s, 15m, 12h, 7d). Default: 0s.",
    )
    parser.add_argument("--dry-run", action="store_true", help="Only count them.")


def run(console: Console, *, older_than: float, dry_run: bool) -> None:
    """Delete old results in pieces, each in its own transaction."""
    connection = open_tables()
    if dry_run:
        console.say(f"{count(prune.prunable(connection, older_than), 'result')} would be deleted.")
        return
    total, pruning, more = 0, prune.Pruning(older_than, keeps=bool(settings.HISTORY)), True
    while more:
        deleted, _, more = pruning.piece(connection)
        total += deleted
    console.say(f"{count(total, 'result')} deleted.")


SUBCOMMAND = Subcommand(
    name="prune",
    help="Delete results past their time to live.",
    description="Delete results whose time to live is over. Workers do this by themselves; it is needed only if none "
    "has run for a long time.",
    examples=(
        ("prune --dry-run", "count them"),
        ("prune --older-than 7d", "keep each result a week longer than it asks for"),
    ),
    add_arguments=add_arguments,
    run=run,
)
