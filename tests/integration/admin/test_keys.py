"""The pages of API keys."""

import re

from django.contrib.admin.models import LogEntry

from autotask.acts import keys
from autotask.models import ApiKey
from tests.integration.admin.pages import page

KEYS = "/admin/autotask/apikey/"


def create(client, **data):
    given = {"name": "reports", "allowed": "submit:shop.*\nread:*", "expires_at_0": "", "expires_at_1": "", **data}
    return client.post(f"{KEYS}add/", given)


def test_a_new_key_is_shown_once(admin):
    # When
    response = create(admin)

    # Then
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    secret = re.search(r"autotask_\d+_[\w-]{43}", response.content.decode())[0]
    key = keys.verified(secret)
    assert (key.name, key.scopes) == ("reports", ("submit:shop.*", "read:*"))
    shown = page(admin, KEYS) + page(admin, f"{KEYS}{key.id}/change/")
    assert "reports" in shown and "submit:shop.*" in shown
    assert secret[-43:] not in shown and key.digest not in shown
    assert LogEntry.objects.get().object_id == str(key.id)


def test_unfit_keys_are_not_made(admin):
    for data, said in (
        ({"name": "a b"}, "Enter a valid value"),
        ({"name": ""}, "This field is required"),
        ({"allowed": "write:*"}, "is not a scope"),
        ({"allowed": ""}, "This field is required"),
        ({"expires_at_0": "2020-01-01", "expires_at_1": "00:00"}, "over already"),
    ):
        response = create(admin, **data)
        assert said in response.content.decode()
    assert not ApiKey.objects.exists()
    create(admin)
    assert "There is a valid key of this name" in create(admin).content.decode()
    assert ApiKey.objects.count() == 1


def test_the_button_and_the_action_revoke_a_key(admin):
    # Given
    first, second = keys.create("first", ["read"]), keys.create("second", ["read"])

    # When
    admin.post(f"{KEYS}{first.id}/revoke/")
    admin.post(KEYS, {"action": "revoke", "index": "0", "_selected_action": [str(second.id)]})

    # Then
    assert keys.verified(first.secret) is keys.verified(second.secret) is None
    assert "1 key is revoked. Within a second, all processes of the site refuse it." in page(admin, KEYS)
    assert [entry.change_message for entry in LogEntry.objects.all()] == ["Revoked."] * 2
    assert 'formaction="/admin/autotask/apikey/' not in page(admin, f"{KEYS}{first.id}/change/")


def test_keys_take_a_permission_of_their_own(staff):
    key = keys.create("first", ["read"])
    client = staff("view_apikey", "view_taskrecord", "retry_task")
    assert "first" in page(client, KEYS)
    assert create(client).status_code == 403
    assert client.post(f"{KEYS}{key.id}/revoke/").status_code == 403
    assert staff().get(KEYS).status_code == 403
    assert keys.verified(key.secret) is not None
    assert create(staff("view_apikey", "issue_keys")).status_code == 200
