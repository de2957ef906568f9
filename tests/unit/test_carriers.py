"""Carriers that come with autotask, and what is said of paths that lead to none."""

import datetime
from zoneinfo import ZoneInfo

import pytest
from django.core.checks import run_checks
from django.utils import timezone, translation

from autotask import carriers, checks, registry

LANGUAGE, TIME_ZONE, TENANT = (f"autotask.carriers.{name}" for name in ("Language", "TimeZone", "TenantSchema"))


@pytest.fixture(autouse=True)
def _no_definitions(monkeypatch):
    monkeypatch.setattr(registry, "_definitions", {})
    monkeypatch.setattr(registry, "_duplicates", [])


@pytest.mark.parametrize(
    "zone",
    [
        ZoneInfo("Asia/Kolkata"),
        timezone.get_fixed_timezone(-210),
        datetime.timezone(datetime.timedelta(hours=5, minutes=30)),
        datetime.UTC,
    ],
    ids=str,
)
def test_a_time_zone_of_any_kind_is_the_same_at_the_other_end(settings, zone):
    # Given
    settings.AUTOTASK_CONTEXT = [TIME_ZONE]
    moment = datetime.datetime(2026, 7, 1, 12, tzinfo=datetime.UTC)
    with timezone.override(zone):
        here = timezone.localtime(moment).isoformat()
        carried = carriers.carried("x")

    # Then
    with carriers.restored(carried):
        assert timezone.localtime(moment).isoformat() == here


def test_defaults_are_not_carried(settings):
    settings.AUTOTASK_CONTEXT = [LANGUAGE, TIME_ZONE]
    assert carriers.carried("x") == {}
    with translation.override("de"):
        assert carriers.carried("x") == {LANGUAGE: "de"}


def test_carriers_are_left_in_the_opposite_order_also_when_a_later_one_fails(settings):
    settings.AUTOTASK_CONTEXT = [LANGUAGE, TIME_ZONE]
    with pytest.raises(Exception, match="Mars"):
        carriers.restored({LANGUAGE: "de", TIME_ZONE: "Mars/Base"})
    assert translation.get_language() == "en"


def test_only_carriers_that_change_more_than_context_variables_need_a_thread(settings):
    settings.AUTOTASK_CONTEXT = [LANGUAGE, TIME_ZONE, TENANT]
    assert not carriers.need_thread({LANGUAGE: "de", TIME_ZONE: "UTC"})
    assert carriers.need_thread({LANGUAGE: "de", TENANT: "acme"})


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("autotask.carriers.Nothing", "cannot be imported"),
        ("nowhere.at.all", "cannot be imported"),
        ("autotask.carriers.carried", "no methods carry() and restore(value)"),
        ("datetime.date", "cannot be used"),
        ("Language", "must be a list of dotted paths"),
    ],
)
def test_a_path_that_leads_to_no_carrier_is_an_error_of_the_checks(settings, path, problem):
    settings.AUTOTASK_CONTEXT = [path]
    [message] = run_checks(tags=[checks.TAG])
    assert path in message.msg and problem in message.msg


def test_the_carriers_that_come_with_autotask_pass_the_checks(settings):
    settings.AUTOTASK_CONTEXT = [LANGUAGE, TIME_ZONE, TENANT]
    assert run_checks(tags=[checks.TAG]) == []
