"""AUTOTASK_ALERTS: what a rule may say, and what is said of a mistake."""

from datetime import timedelta

import pytest
from django.core.checks import run_checks

from autotask.alert_rules import Rule
from autotask.checks.about_notices import check_alerts
from autotask.conf import settings as autotask_settings
from autotask.exceptions import InvalidSetting


def test_rules_have_defaults(settings):
    settings.AUTOTASK_ALERTS = [
        {"when": "workers"},
        {"when": "age", "queue": "mail", "seconds": timedelta(minutes=5), "quiet": 60, "to": "ops@example.org"},
        {"when": "failures", "share": 0.5},
    ]
    assert (
        Rule("workers", "", 1.0),
        Rule("age", "mail", 300.0, quiet=60.0, to=("ops@example.org",)),
        Rule("failures", "", 0.5, window=900.0, least=10, quiet=900.0),
    ) == autotask_settings.ALERTS


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([5], "AUTOTASK_ALERTS[0] must be a dict, but is 5."),
        (
            [{}],
            "AUTOTASK_ALERTS[0]['when'] must be one of 'failures', 'age', 'workers', 'missed', 'length', but is None.",
        ),
        (
            [{"when": "failures", "share": 7}],
            "AUTOTASK_ALERTS[0]['share'] must be a number from 0.0001 to 1, but is 7.",
        ),
        ([{"when": "age"}], "AUTOTASK_ALERTS[0] must be a dict with 'seconds', but is {'when': 'age'}."),
        (
            [{"when": "length", "tasks": 5, "to": ["nobody"]}],
            "AUTOTASK_ALERTS[0]['to'] must be a mail address, the URL of a webhook, or a list of at most 20 of these, "
            "but is ['nobody'].",
        ),
        (
            [{"when": "workers"}, {"when": "workers", "fewest": 2}],
            "AUTOTASK_ALERTS[1] must be another rule than [0], which looks at the same, "
            "but is {'when': 'workers', 'fewest': 2}.",
        ),
        (
            [{"when": "workers", "seconds": 5}],
            "AUTOTASK_ALERTS[0] must be a dict with some of 'when', 'fewest', 'quiet', 'to', "
            "but is {'when': 'workers', 'seconds': 5}.",
        ),
    ],
    ids=["type", "when", "share", "missing", "to", "twice", "unknown"],
)
def test_a_mistake_is_named_with_its_place(settings, rules, message):
    settings.AUTOTASK_ALERTS = rules
    with pytest.raises(InvalidSetting) as caught:
        autotask_settings.ALERTS  # noqa: B018 - reading it is the act
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "url",
    [
        "https://ann:s3cret@example.org/",
        "https://example.org:99999/s3cret",
        "https://[::1/s3cret",
        "https:///s3cret",
        "https://example.org/s3cret hook",
    ],
    ids=["password", "port", "bracket", "host", "space"],
)
def test_the_check_refuses_what_is_no_address_of_a_webhook_and_hides_secrets_in_it(settings, url):
    settings.AUTOTASK_ALERTS = [{"when": "workers", "to": ["ops@example.org", url]}]
    [found] = [message.msg for message in run_checks() if "AUTOTASK_ALERTS" in message.msg]
    assert "AUTOTASK_ALERTS[0]['to'] must be" in found
    assert "s3cret" not in found


def test_a_mistake_beside_the_address_of_a_webhook_does_not_show_it(settings):
    settings.AUTOTASK_ALERTS = [{"when": "workers", "typo": 1, "to": "https://chat.example.org/T1/s3cret"}]
    with pytest.raises(InvalidSetting, match=r"'https://chat\.example\.org/…'"):
        autotask_settings.ALERTS  # noqa: B018 - reading it is the act


def test_the_check_finds_rules_that_cannot_work(settings):
    settings.ADMINS = []
    settings.AUTOTASK_STATISTICS = False
    settings.AUTOTASK_WEBHOOK_HOSTS = []
    settings.AUTOTASK_WEBHOOK_SECRET = None
    settings.AUTOTASK_ALERTS = [
        {"when": "failures", "share": 0.5},
        {"when": "workers", "to": "https://example.org/hook"},
    ]
    found = [message.msg for message in check_alerts()]
    assert len(found) == 4
    for word in ("AUTOTASK_STATISTICS", "ADMINS", "AUTOTASK_WEBHOOK_SECRET", "AUTOTASK_WEBHOOK_HOSTS"):
        assert any(word in text for text in found), word


def test_the_check_has_nothing_to_say_of_rules_that_work(settings):
    settings.AUTOTASK_ALERTS = [{"when": "workers", "to": "ops@example.org"}]
    assert check_alerts() == []
