"""``keys``: create, list and revoke the keys of the HTTP API."""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from autotask.acts import keys
from autotask.documents import key_document
from autotask.management.arguments import duration, moment
from autotask.management.console import NOT_FOUND, Console, failure, open_tables
from autotask.management.subcommand import Subcommand
from autotask.scopes import ACTIONS
from autotask.store.keys import StoredKey
from autotask.texts import render


def add_arguments(parser: ArgumentParser) -> None:
    """Define the verbs and their options."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, title="verbs")
    create = verbs.add_parser("create", help="Create a key, and print it; it cannot be shown again.")
    create.add_argument("name", help="Its name: letters, digits and _ . : < > -")
    create.add_argument(
        "--scope",
        action="append",
        required=True,
        metavar="ACTION:PATTERN",
        help=f"What it allows: {', '.join(ACTIONS)}, and the names of the tasks; repeatable.",
    )
    create.add_argument(
        "--expires", type=_end, metavar="WHEN", help="A duration like 90d, or a moment like 2026-12-01T08:00."
    )
    listing = verbs.add_parser("list", help="List the keys.")
    listing.add_argument("--json", action="store_true", help="Print one JSON document.")
    revoke = verbs.add_parser("revoke", help="Refuse all further requests with a key.")
    revoke.add_argument("name", help="The name of the key.")


def run(
    console: Console,
    *,
    verb: str,
    name: str = "",
    scope: Sequence[str] = (),
    expires: datetime | None = None,
    json: bool = False,
) -> None:
    """Do what the verb says."""
    open_tables()
    if verb == "create":
        _create(console, name, scope, expires)
    elif verb == "list":
        _list(console, json)
    elif keys.revoke(name):
        console.say(f"{name} is revoked: within a second, all processes of the site refuse it")
    else:
        raise failure(f"There is no valid key {name!r}.", NOT_FOUND)


def _create(console: Console, name: str, scopes: Sequence[str], expires: datetime | None) -> None:
    made = keys.create(name, list(scopes), expires)
    console.say(made.secret)
    console.complain("Keep it in a safe place: only its hash is stored, and it cannot be shown again.")


def _list(console: Console, json: bool) -> None:
    found = keys.all_keys()
    if json:
        console.say(render.as_json({"keys": [key_document(key) for key in found]}))
    elif found:
        console.say(*render.table(("NAME", "SCOPES", "CREATED", "EXPIRES", "LAST USED", "STATE"), map(_row, found)))
        _explain({scope.partition(":")[0] for key in found for scope in key.scopes}, console)
    else:
        console.complain("There are no keys. Create one: python manage.py autotask keys create NAME --scope read:*")


def _explain(actions: Collection[str], console: Console) -> None:
    """Say what the scopes of the keys allow."""
    known = {action: meaning for action, meaning in ACTIONS.items() if action in actions}
    console.complain("", *(f"{action}: {meaning}" for action, meaning in known.items()))


def _row(key: StoredKey) -> tuple[str, ...]:
    moments = [render.moment(moment) for moment in (key.created_at, key.expires_at, key.used_at)]
    state = "valid" if key.is_valid else "expired" if key.revoked_at is None else "revoked"
    return (key.name, " ".join(key.scopes), *moments, state)


def _end(text: str) -> datetime:
    try:
        return datetime.now(UTC) + timedelta(seconds=duration(1)(text))
    except ArgumentTypeError:
        return moment(text)


SUBCOMMAND = Subcommand(
    name="keys",
    help="Create, list and revoke the keys of the HTTP API.",
    description="Create, list and revoke the keys with which programs call the HTTP API. A key is printed only once, "
    "when it is created. A scope is an act and the names of the tasks for which it is allowed; * and ? "
    "match as in file names.",
    examples=(
        (
            "keys create reports --scope submit:make_report --scope 'read:*'",
            "a key that starts reports and sees all tasks",
        ),
        ("keys create ci --scope 'submit:shop.*' --expires 90d", "a key for some tasks, for a time"),
        ("keys list", "all keys, and when they were last used"),
        ("keys revoke ci", "refuse a key; each process of the site knows it within a second"),
    ),
    add_arguments=add_arguments,
    run=run,
)
