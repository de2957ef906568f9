"""Keys, sessions and limits: who may do what through the HTTP API."""

import hashlib
import logging
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser
from django.middleware.csrf import get_token
from django.test import RequestFactory
from django.views.debug import ExceptionReporter

from autotask.acts import keys
from autotask.api import tokens
from autotask.api.auth import aauthorize, authorize
from autotask.api.problems import Refused
from autotask.exceptions import InvalidKey
from autotask.models import ApiKey
from autotask.store.connection import current, execute

pytestmark = pytest.mark.django_db(transaction=True)


def refusal(*args, **kwargs) -> Refused:
    with pytest.raises(Refused) as caught:
        authorize(*args, **kwargs)
    return caught.value


def test_a_key_may_do_what_its_scopes_say(key, request_with):
    secret = key("submit:shop.*", "read")
    caller = authorize(request_with(secret), "submit", "shop.tasks.pay")
    assert (caller.name, caller.id) == ("key-0", f"key:{ApiKey.objects.get().id}")
    assert caller.may("read", "any.thing")
    assert authorize(request_with(secret), "submit").may("submit")
    for action, name in (("submit", "other.pay"), ("cancel", "shop.tasks.pay"), ("traceback", ""), ("pull", "")):
        assert (refusal(request_with(secret), action, name).status, not caller.may(action, name)) == (403, True)


def test_a_coroutine_can_ask_as_well(key, request_with):
    secret = key("pull")
    assert async_to_sync(aauthorize)(request_with(secret), "pull").name == "key-0"
    with pytest.raises(Refused):
        async_to_sync(aauthorize)(request_with(secret), "read")


def test_only_the_hash_of_a_key_is_stored(key):
    secret = key("read:*")
    stored = ApiKey.objects.get()
    assert stored.digest == hashlib.sha256(secret.split("_", 2)[2].encode()).hexdigest()
    assert secret.split("_", 2)[2] not in str(vars(stored))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda secret: "",
        lambda secret: "x",
        lambda secret: secret[:-1],
        lambda secret: secret[:-1] + ("A" if secret[-1] != "A" else "B"),
        lambda secret: secret.replace("autotask_", "autotask_9"),
        lambda secret: secret.upper(),
        lambda secret: secret + "'; DROP TABLE autotask_api_key; --",
        lambda secret: "autotask_99999999999999999999_" + secret[-43:],
        lambda secret: secret[:9] + "\u0661" + secret[10:],
    ],
)
def test_a_wrong_key_is_refused(key, request_with, spoil):
    secret = key("read:*")
    problem = refusal(request_with(spoil(secret)), "read")
    assert (problem.status, problem.code) == (401, "unauthenticated")
    assert problem.headers["WWW-Authenticate"].startswith("Bearer")
    assert secret not in str(problem.document())


def test_without_a_key_there_has_to_be_a_session_or_a_public_view(request_with):
    assert refusal(request_with(), "read").status == 401
    assert authorize(request_with(), "read", "any", public=True).id == "public"
    assert refusal(request_with(), "traceback", "any", public=True).status == 403
    assert refusal(request_with("wrong"), "read", public=True).status == 401  # who sends a key means it


def test_another_scheme_is_no_key(request_with):
    request = RequestFactory().get("/", headers={"Authorization": "Basic dXNlcjpwYXNz"})
    assert refusal(request, "read").status == 401
    assert not tokens.wrong_keys.wait("127.0.0.1", 1)


def test_a_key_expires(key, request_with):
    secret = key("read", expires=datetime.now(UTC) + timedelta(hours=1))
    authorize(request_with(secret), "read")
    execute(current(), "UPDATE autotask_api_key SET expires_at = now() - interval '1 s'")
    keys.forget_recent()
    assert refusal(request_with(secret), "read").status == 401
    # And its name can be used again.
    authorize(request_with(keys.create("key-0", ["read"]).secret), "read")


def test_a_revoked_key_is_refused_within_a_second(key, request_with, monkeypatch):
    secret = key("read")
    authorize(request_with(secret), "read")
    execute(current(), "UPDATE autotask_api_key SET revoked_at = now()")  # by another process
    authorize(request_with(secret), "read")
    monkeypatch.setattr(keys, "TRUSTED", 0)
    assert refusal(request_with(secret), "read").status == 401
    monkeypatch.undo()
    assert refusal(request_with(secret), "read").status == 401
    assert not keys.revoke("key-0")


def test_the_process_that_revokes_a_key_refuses_it_at_once(key, request_with):
    secret = key("read")
    authorize(request_with(secret), "read")
    assert keys.revoke("key-0")
    assert refusal(request_with(secret), "read").status == 401


def test_the_last_use_is_noted_at_most_once_a_minute(key, request_with, django_assert_num_queries):
    secret = key("read")
    assert ApiKey.objects.get().used_at is None
    authorize(request_with(secret), "read")
    first = ApiKey.objects.get().used_at
    assert first is not None
    with django_assert_num_queries(0):
        authorize(request_with(secret), "read")
    keys.forget_recent()
    with django_assert_num_queries(1):
        authorize(request_with(secret), "read")
    assert ApiKey.objects.get().used_at == first
    execute(current(), "UPDATE autotask_api_key SET used_at = used_at - interval '61 s'")
    keys.forget_recent()
    authorize(request_with(secret), "read")
    assert ApiKey.objects.get().used_at >= first


@pytest.mark.parametrize(
    ("name", "scopes", "said"),
    [
        ("a b", ["read"], "'a b' is not a name for it"),
        ("a", [], "it needs from 1 to 100 scopes"),
        ("a", ["write:*"], "'write:*' is not a scope: a scope begins with submit or read"),
        ("a", ["read:a b"], "'read:a b' is not a scope: write read:NAME"),
        ("a", ["read:"], "'read:' is not a scope"),
    ],
)
def test_an_unfit_key_is_not_made(name, scopes, said):
    with pytest.raises(InvalidKey) as caught:
        keys.create(name, scopes)
    assert said in str(caught.value)
    assert not ApiKey.objects.exists()


def test_two_valid_keys_cannot_have_one_name(key):
    key("read")
    with pytest.raises(InvalidKey, match="there is a valid key 'key-0' already"):
        keys.create("key-0", ["read"])


def test_after_many_wrong_keys_only_keys_that_were_right_pass(key, request_with, settings):
    # Given
    settings.AUTOTASK_API_WRONG_KEYS = 3
    regular, stranger = key("read"), key("read")
    authorize(request_with(regular), "read")

    # When
    statuses = [refusal(request_with("wrong"), "read").status for _ in range(5)]

    # Then
    assert statuses == [401, 401, 401, 429, 429]
    problem = refusal(request_with(stranger), "read")
    assert (problem.status, problem.code) == (429, "too_many_requests")
    assert 1 <= int(problem.headers["Retry-After"]) <= 20
    authorize(request_with(regular), "read")
    authorize(request_with(stranger, REMOTE_ADDR="192.0.2.7"), "read")


def test_the_memory_for_addresses_is_bounded(monkeypatch):
    monkeypatch.setattr(tokens, "MOST_KEYS", 10)
    limiter = tokens.Limiter()
    for number in range(100):
        limiter.take(str(number), 1)
    assert len(limiter._full_at) == 10
    assert limiter.wait("99", 1) > 0
    assert limiter.wait("0", 1) == 0


def test_one_caller_cannot_send_more_than_the_rate(key, request_with, settings):
    settings.AUTOTASK_API_RATE = 2
    one, other = key("read"), key("read")
    for _ in range(2):
        authorize(request_with(one), "read")
    assert refusal(request_with(one), "read").code == "too_many_requests"
    authorize(request_with(other), "read")


def test_a_session_needs_permissions(user, request_with):
    request = request_with()
    request.user = user("view_taskrecord")
    caller = authorize(request, "read", "any")
    assert (caller.id, caller.name) == (f"user:{request.user.pk}", "user0")
    assert caller.may("traceback")
    for action in ("submit", "cancel", "retry", "pull"):
        assert not caller.may(action)
        assert refusal(request, action).status == 403
    request.user = AnonymousUser()
    assert refusal(request, "read").status == 401


@pytest.mark.parametrize(
    ("action", "codename"), [("submit", "submit_task"), ("cancel", "cancel_task"), ("retry", "retry_task")]
)
def test_a_session_needs_the_csrf_token_to_change_something(user, request_with, action, codename):
    request = request_with(method="POST")
    request.user = user(codename)
    problem = refusal(request, action, "any")
    assert (problem.status, problem.code) == (403, "csrf")
    token = get_token(request_with())
    request = request_with(method="POST", HTTP_X_CSRFTOKEN=token)
    request.COOKIES["csrftoken"] = token
    request.user = user(codename)
    assert authorize(request, action, "any").id.startswith("user:")


def test_a_key_is_in_no_log_and_no_report_of_an_error(key, request_with, caplog, settings, monkeypatch):
    settings.DEBUG = False
    secret = key("read")
    random = secret.split("_", 2)[2]
    monkeypatch.setattr("autotask.store.keys.find", lambda *_: 1 / 0)
    request = request_with(secret)
    with caplog.at_level(logging.DEBUG):
        try:
            authorize(request, "read")
        except ZeroDivisionError as error:
            report = ExceptionReporter(request, type(error), error, error.__traceback__.tb_next)
        refusal(request_with(secret[:-1]), "read")
    assert random not in report.get_traceback_html() + report.get_traceback_text()
    assert random[:-1] not in caplog.text
