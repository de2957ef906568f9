"""``manage.py autotask keys``."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from autotask.acts import keys
from tests.integration.commands.command import manage

pytestmark = pytest.mark.django_db(transaction=True)


def test_create_prints_the_key_and_nothing_else():
    # When
    shown = manage("keys", "create", "reports", "--scope", "submit:make_report", "--scope", "read:*")

    # Then
    assert shown.code == 0
    assert re.fullmatch(r"autotask_\d+_[\w-]{43}\n", shown.out)
    assert "cannot be shown again" in shown.err
    key = keys.verified(shown.out.strip())
    assert (key.name, key.scopes, key.expires_at) == ("reports", ("submit:make_report", "read:*"), None)


def test_a_key_expires_after_a_duration_or_at_a_moment():
    manage("keys", "create", "a", "--scope", "read", "--expires", "90d")
    manage("keys", "create", "b", "--scope", "read", "--expires", "2199-12-01T08:00+02:00")
    a, b = keys.all_keys()
    assert timedelta(days=89.9) < a.expires_at - datetime.now(UTC) < timedelta(days=90.1)
    assert b.expires_at == datetime(2199, 12, 1, 6, tzinfo=UTC)


def test_list_shows_all_keys_without_their_secrets():
    secret = keys.create("a", ["read:*", "retry:*"]).secret
    keys.create("b", ["pull"])
    keys.revoke("b")
    shown = manage("keys", "list")
    head, a, b = shown.out.splitlines()
    assert head.split() == ["NAME", "SCOPES", "CREATED", "EXPIRES", "LAST", "USED", "STATE"]
    assert a.startswith("a     read:* retry:*") and a.endswith("valid")
    assert b.startswith("b     pull:*") and b.endswith("revoked")
    assert "pull: fetch tasks of models" in shown.err and "submit:" not in shown.err
    first, _ = manage("keys", "list", "--json").json["keys"]
    assert (first["name"], first["scopes"], first["used_at"], first["is_valid"]) == (
        "a",
        ["read:*", "retry:*"],
        None,
        True,
    )
    assert secret[-43:] not in shown.out + manage("keys", "list", "--json").out


def test_without_keys_list_says_how_to_create_one():
    shown = manage("keys", "list")
    assert (shown.out, shown.code) == ("", 0)
    assert "keys create" in shown.err


def test_a_revoked_key_is_not_valid():
    secret = keys.create("a", ["read"]).secret
    shown = manage("keys", "revoke", "a")
    assert (shown.out, shown.code) == ("a is revoked: within a second, all processes of the site refuse it\n", 0)
    assert keys.verified(secret) is None
    shown = manage("keys", "revoke", "a")
    assert (shown.err, shown.code) == ("There is no valid key 'a'.", 4)


def test_an_unfit_key_is_an_error_of_one_line():
    shown = manage("keys", "create", "a", "--scope", "write:*")
    assert (shown.out, shown.code) == ("", 1)
    assert shown.err.startswith("The API key was not created: 'write:*' is not a scope")
