"""Settings: read live, typed, and refused with name, expectation and value."""

import math
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as django_settings

from autotask.conf import Settings, settings as autotask_settings
from autotask.exceptions import InvalidSetting
from autotask.setting import Setting

ALL = list(Settings())


def named(name):
    (found,) = [setting for setting in ALL if setting.name == name]
    return found


@pytest.fixture
def untouched(settings):
    """Remove every setting of autotask."""
    for setting in ALL:
        if hasattr(settings, setting.name):
            delattr(settings, setting.name)


def test_there_are_settings_to_look_at():
    assert len(ALL) > 15
    assert len({setting.name for setting in ALL}) == len(ALL)


@pytest.mark.parametrize("setting", ALL, ids=lambda setting: setting.name)
def test_a_setting_has_a_name_a_meaning_and_a_default_of_its_own_kind(setting, untouched):
    assert setting.name.startswith("AUTOTASK_")
    assert setting.meaning.endswith(".")
    assert setting.kind.expected
    assert setting.accept(setting.default) == setting.default
    assert type(setting.accept(setting.default)) is type(setting.default)
    assert getattr(autotask_settings, setting.name.removeprefix("AUTOTASK_")) == setting.default


def test_a_setting_is_read_live(settings):
    settings.AUTOTASK_THREADS = 7
    assert autotask_settings.THREADS == 7
    settings.AUTOTASK_THREADS = 8
    assert autotask_settings.THREADS == 8
    del settings.AUTOTASK_THREADS
    assert autotask_settings.THREADS == 4


def test_the_class_gives_the_setting_itself():
    assert isinstance(Settings.THREADS, Setting)
    assert Settings.THREADS.name == "AUTOTASK_THREADS"


GOOD = [
    ("AUTOTASK_IMMEDIATE", True, True),
    ("AUTOTASK_IMMEDIATE", "raise", "raise"),
    ("AUTOTASK_IS_ACTIVE", False, False),
    ("AUTOTASK_DATABASE", "other", "other"),
    ("AUTOTASK_COMPANION", "off", "off"),
    ("AUTOTASK_COMPANION", "host", "host"),
    ("AUTOTASK_COMPANION_YIELDS", True, True),
    ("AUTOTASK_FORK", "auto", "auto"),
    ("AUTOTASK_FORK", False, False),
    ("AUTOTASK_QUEUES", ["a", "b"], ("a", "b")),
    ("AUTOTASK_QUEUES", [], ()),
    ("AUTOTASK_REMOTE_CHANNELS", ["web"], ("web",)),
    ("AUTOTASK_THREADS", 1, 1),
    ("AUTOTASK_COROUTINES", 0, 0),
    ("AUTOTASK_BACKGROUND_THREADS", 0, 0),
    ("AUTOTASK_PROCESSES", 0, 0),
    ("AUTOTASK_EXECUTORS", {"a": "b.c", "d": ("e.f", 3)}, {"a": ("b.c", 100), "d": ("e.f", 3)}),
    ("AUTOTASK_LOG_DIR", Path("/var/log/shop"), "/var/log/shop"),
    ("AUTOTASK_LOG_DIR", None, None),
    ("AUTOTASK_LIMITS", {"openai": 20, "queue:mail": 4, "*": 50}, {"openai": 20, "queue:mail": 4, "*": 50}),
    ("AUTOTASK_MAX_COUNT", 5, 5),
    ("AUTOTASK_MAX_COUNT", None, None),
    ("AUTOTASK_MAX_TYPE_COUNT", {"shop.tasks.send": 2}, {"shop.tasks.send": 2}),
    (
        "AUTOTASK_FETCH_HOSTS",
        ["example.org", "*.example.org:*", "[::1]:80"],
        ("example.org", "*.example.org:*", "[::1]:80"),
    ),
    ("AUTOTASK_PULL_KEY", b"key", b"key"),
    ("AUTOTASK_PULL_REDIS", "default", "default"),
    ("AUTOTASK_PULL_TIMEOUT", 0, 0.0),
    ("AUTOTASK_PULL_WAIT", timedelta(minutes=1), 60.0),
    ("AUTOTASK_FETCH_TIMEOUT", timedelta(minutes=1), 60.0),
    ("AUTOTASK_FETCH_MAX_BYTES", 2**20, 2**20),
    ("AUTOTASK_TIMEOUT", timedelta(minutes=1), 60.0),
    ("AUTOTASK_THREADS", 1000, 1000),
    ("AUTOTASK_SHUTDOWN_GRACE", 0, 0.0),
    ("AUTOTASK_POLL_INTERVAL", timedelta(seconds=3), 3.0),
    ("AUTOTASK_POLL_INTERVAL", 0.05, 0.05),
    ("AUTOTASK_RETRY_DELAY", 0.5, 0.5),
    ("AUTOTASK_SIGNING_KEY", "key", "key"),
    ("AUTOTASK_SIGNING_KEY", b"key", b"key"),
    ("AUTOTASK_SIGNING_KEY", None, None),
    ("AUTOTASK_SIGNING_KEY_FALLBACKS", ["a", b"b"], ("a", b"b")),
    ("AUTOTASK_MAX_PAYLOAD", 2**25, 2**25),
    ("AUTOTASK_PICKLE_ALLOWED", ["shop", "shop_items.models"], ("shop", "shop_items.models")),
    ("AUTOTASK_PICKLE_ALLOWED", (), ()),
    ("AUTOTASK_PICKLE_ALLOWED", None, None),
    ("AUTOTASK_MASKED_ARGUMENTS", ["iban"], ("iban",)),
]


@pytest.mark.parametrize(("name", "value", "read"), GOOD)
def test_a_good_value_is_read_in_the_type_of_the_setting(settings, name, value, read):
    setattr(settings, name, value)
    found = getattr(autotask_settings, name.removeprefix("AUTOTASK_"))
    assert found == read
    assert type(found) is type(read)


BAD = {
    "AUTOTASK_TELEMETRY": ["a.b", None, 5, [""], [None], ["otel"], ["autotask."], ["shop telemetry.Mine"]],
    "AUTOTASK_CONTEXT": ["a.b", None, 5, [""], [None], ["Language"], ["autotask."], ["shop carriers.Tenant"]],
    "AUTOTASK_IMMEDIATE": [0, 1, None, "True", "raises", ""],
    "AUTOTASK_IS_ACTIVE": [0, 1, None, "False", "true", []],
    "AUTOTASK_ALERTS": [None, 5, "age", {"when": "age"}],
    "AUTOTASK_LOGS": ["INFO", True, {"levl": "INFO"}, {"level": "loud"}, {"max": 0}, {"max": "1M"}, {"keep": 0}, []],
    "AUTOTASK_STATISTICS": [0, 1, None, "no", [], {}],
    "AUTOTASK_DATABASE": ["", None, 5, b"default"],
    "AUTOTASK_TASKS_MODULE": ["", None, 5],
    "AUTOTASK_MODULES": ["shop", None, 5, [5], [""], ["shop.images."], ["shop images"]],
    "AUTOTASK_SETUP": ["", "configure", "a-module.configure", ".configure", 5, b"app.configure"],
    "AUTOTASK_COMPANION": ["on", "", None, True, [], {}],
    "AUTOTASK_COMPANION_YIELDS": [1, "yes", None],
    "AUTOTASK_FORK": [True, None, 0, "on", "off", ""],
    "AUTOTASK_QUEUES": ["default", b"default", None, 5, ["a b"], [""], [None], {"a"}, ["-a"]],
    "AUTOTASK_REMOTE_CHANNELS": ["web", None, ["a b"]],
    "AUTOTASK_THREADS": [0, -1, 1001, "4", 4.0, True, None, math.inf],
    "AUTOTASK_BACKGROUND_THREADS": [-1, 1001, "4", None, True],
    "AUTOTASK_COROUTINES": [-1, 10_001, "4", None, True],
    "AUTOTASK_PROCESSES": [-1, 1001, "4", None, True],
    "AUTOTASK_EXECUTORS": [
        None,
        [],
        "a.b",
        {"a b": "c.d"},
        {"thread": "c.d"},
        {"process": "c.d"},
        {"coroutine": "c.d"},
        {1: "c.d"},
        {"a": "cd"},
        {"a": None},
        {"a": ("c.d", 0)},
        {"a": ("c.d", 1, 2)},
        {"a": ("c.d", "5")},
    ],
    "AUTOTASK_LOG_DIR": ["logs", "./logs", "", 5, b"/logs", ["/logs"]],
    "AUTOTASK_LOG_SIZE": [0, 1023, "10 MiB", 1e6, None, True],
    "AUTOTASK_LOG_BACKUPS": [-1, 1001, "10", 1.5, None, True],
    "AUTOTASK_LOG_CONSOLE": [None, 1, "yes"],
    "AUTOTASK_LIMITS": [None, [], 5, {"a b": 1}, {"a(b)": 1}, {1: 1}, {"a": 0}, {"a": "5"}, {"a": True}, {"a": 10_001}],
    "AUTOTASK_MAX_COUNT": [0, -1, 10_001, "5", 5.0, True, {}],
    "AUTOTASK_MAX_TYPE_COUNT": [None, 5, {"*": 5}, {"": 5}, {"send": 0}, {"send": None}],
    "AUTOTASK_PULL_TIMEOUT": [-1, "5", None, 3601, True],
    "AUTOTASK_PULL_WAIT": [0, -1, "5", None, 3601],
    "AUTOTASK_FETCH_HOSTS": [
        "example.org",
        None,
        [""],
        ["http://example.org"],
        ["*.*.org"],
        ["127.1"],
        ["example.org:http"],
    ],
    "AUTOTASK_FETCH_TIMEOUT": [0, -1, "5", None, 3601, math.inf],
    "AUTOTASK_FETCH_MAX_BYTES": [0, 1023, 2**30 + 1, 1e6, None],
    "AUTOTASK_TIMEOUT": [0, -1, "5", None, math.inf],
    "AUTOTASK_SHUTDOWN_GRACE": [-1, "10", None, math.nan, math.inf, True, timedelta(-1), 10**400],
    "AUTOTASK_POLL_INTERVAL": [0, 0.01, "5", None, -math.inf],
    "AUTOTASK_HEARTBEAT": [0, 0.05, None],
    "AUTOTASK_LEASE": [0, 0.1, None],
    "AUTOTASK_RETRY_DELAY": [-0.1, "2"],
    "AUTOTASK_MAX_CRASHES": [0, 1001, 2.5, None],
    "AUTOTASK_UNKNOWN_TASK_TIMEOUT": [-1, None],
    "AUTOTASK_TTL": [-1, None, math.inf],
    "AUTOTASK_ERROR_TTL": [-1, None, math.inf],
    "AUTOTASK_HISTORY": [-1, math.inf, "1", True],
    "AUTOTASK_CLEAN_INTERVAL": [0, 0.5, None],
    "AUTOTASK_API_TASKS": ["shop.pay", None, [5], [""]],
    "AUTOTASK_API_WAIT": [-1, 86401, "5", None, True],
    "AUTOTASK_API_MAX_BODY": [0, 1023, 2**25 + 1, "1M", None],
    "AUTOTASK_API_RATE": [0, -1, "5/m", 1.5, 1_000_001],
    "AUTOTASK_API_WRONG_KEYS": [0, -1, "5", None],
    "AUTOTASK_API_IDEMPOTENCY_TTL": [0, -1, "5", None],
    "AUTOTASK_MAX_PAYLOAD": [0, 1023, 2**25 + 1, 1e6, None],
    "AUTOTASK_WEBHOOK_HOSTS": ["example.org", None, [5], [""], ["https://a.b"], ["a:b"]],
    "AUTOTASK_WEBHOOK_TIMEOUT": [0, -1, 3601, None, "1"],
    "AUTOTASK_MAIL_SUBJECT": ["", None, 5, "a\nBcc: b", b"a"],
    "AUTOTASK_MAIL_FROM": ["", 5, "a\nBcc: b", b"a", ["a"]],
    "AUTOTASK_MAIL_MAX": [-1, None, 2**30 + 1, 1.5, "1"],
    "AUTOTASK_MAIL_TRIES": [0, None, 1001, 1.5, "1"],
    "AUTOTASK_PICKLE_ALLOWED": ["shop", b"shop", 5, True, [5], [""], ["shop."], ["shop models"], ["shop-x"], {"shop"}],
    "AUTOTASK_MASKED_ARGUMENTS": ["password", None, [5], [""], {"a": 1}],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_bad_value_is_refused_with_name_expectation_and_value(settings, name, value):
    setattr(settings, name, value)
    with pytest.raises(InvalidSetting) as caught:
        getattr(autotask_settings, name.removeprefix("AUTOTASK_"))
    assert isinstance(caught.value, ValueError)
    assert str(caught.value) == f"{name} must be {named(name).kind.expected}, but is {value!r}."


SECRETS = {
    "AUTOTASK_SIGNING_KEY": ["", b"", 5, ["hunter2"], {"hunter2": 1}],
    "AUTOTASK_METRICS_TOKEN": ["", "hunter2", "hunter2 with spaces", b"hunter2hunter2hunter2", 5, [5], {"hunter2": 1}],
    "AUTOTASK_PULL_REDIS": ["", 5, ["hunter2"], {"hunter2": 1}],
    "AUTOTASK_PULL_KEY": ["", b" ", 5, ["hunter2"], {"hunter2": 1}],
    "AUTOTASK_WEBHOOK_SECRET": ["", "hunter2", "whsec_hunter2", ["hunter2"], b"hunter2", 5, {"hunter2": 1}],
    "AUTOTASK_SIGNING_KEY_FALLBACKS": ["hunter2", b"hunter2", [""], [5, "hunter2"], {"hunter2"}],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in SECRETS.items() for value in values])
def test_a_bad_value_of_a_secret_is_refused_and_not_shown(settings, name, value):
    setattr(settings, name, value)
    with pytest.raises(InvalidSetting) as caught:
        getattr(autotask_settings, name.removeprefix("AUTOTASK_"))
    assert name in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.facts)


def test_every_setting_has_been_given_bad_values():
    assert set(BAD) | set(SECRETS) == {setting.name for setting in ALL}, "a new setting belongs into the lists above"


@pytest.mark.parametrize("name", ["AUTOTASK_LEASE", "AUTOTASK_ERROR_TTL", "AUTOTASK_SHUTDOWN_GRACE"])
@pytest.mark.parametrize("value", [1e300, 10**12])
def test_a_time_that_no_clock_of_the_database_can_add_is_refused(settings, name, value):
    setattr(settings, name, value)
    with pytest.raises(InvalidSetting):
        getattr(autotask_settings, name.removeprefix("AUTOTASK_"))


def test_a_name_that_is_no_setting_is_no_attribute():
    with pytest.raises(AttributeError):
        _ = autotask_settings.WIBBLE
    assert not hasattr(django_settings, "AUTOTASK_WIBBLE")


def test_the_name_of_another_package_counts_where_ours_is_not_set(settings):
    settings.DJANGO_SIMPLETASK2_TASK_PULL_TIMEOUT = 7
    assert autotask_settings.PULL_TIMEOUT == 7.0
    settings.AUTOTASK_PULL_TIMEOUT = 3
    assert autotask_settings.PULL_TIMEOUT == 3.0


def test_a_bad_value_under_the_name_of_another_package_is_named_so(settings):
    settings.DJANGO_SIMPLETASK2_TASK_PULL_TIMEOUT = "soon"
    with pytest.raises(InvalidSetting, match="DJANGO_SIMPLETASK2_TASK_PULL_TIMEOUT"):
        autotask_settings.PULL_TIMEOUT  # noqa: B018 - reading it is the test
