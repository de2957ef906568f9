"""Timetables as the admin says them in each language."""

import pytest
from django.utils import translation

from autotask.admin import timetables
from autotask.schedules.crontab import from_cron
from autotask.schedules.every import Every


@pytest.mark.parametrize(
    ("timetable", "english", "german"),
    [
        (Every(86400), "Every day", "Täglich"),
        (Every(1209600), "Every 14 days", "Alle 14 Tage"),
        (Every(3600), "Every hour", "Stündlich"),
        (Every(7200), "Every 2 hours", "Alle 2 Stunden"),
        (Every(60), "Every minute", "Jede Minute"),
        (Every(90), "Every 90 seconds", "Alle 90 Sekunden"),
        (Every(1), "Every second", "Jede Sekunde"),
        (Every(2.5), "Every 2.5 seconds", "Alle 2,5 Sekunden"),
        (Every(0.5), "Every 0.5 seconds", "Alle 0,5 Sekunden"),
    ],
)
def test_an_interval_is_said_in_the_language_of_the_reader(timetable, english, german):
    assert timetables.in_words(timetable) == english
    with translation.override("de"):
        assert timetables.in_words(timetable) == german


@pytest.mark.parametrize(
    ("expression", "german"),
    [
        ("* * * * *", "Jede Minute"),
        ("*/5 * * * *", "Alle 5 Minuten"),
        ("7 * * * *", "Stündlich, zur Minute 7"),
        ("5 4 * * *", "Täglich um 04:05"),
        ("5 4 1 * *", "Monatlich am 1. um 04:05"),
        ("5 4 * * 1-5", "Montag – Freitag um 04:05"),
        ("5 4 * * 0,3", "Sonntag, Mittwoch um 04:05"),
        ("5 4 * * 7", "Sonntag um 04:05"),
    ],
)
def test_frequent_cron_expressions_are_said_in_the_language_of_the_reader(expression, german):
    with translation.override("de"):
        assert timetables.in_words(from_cron(expression, "UTC")) == german


@pytest.mark.parametrize(
    "expression", ["*/7 * * * *", "5 4 1 6 *", "5 4 1 * 1", "*/5 4 * * *", "1,2 * * * *", "5 4 L * *", "5 4 * * 1#2"]
)
def test_others_are_shown_as_they_are_written(expression):
    with translation.override("de"):
        assert timetables.in_words(from_cron(expression, "UTC")) == expression


def test_in_english_all_have_words():
    assert timetables.in_words(from_cron("5 4 1 6 *", "UTC")) == "At 04:05 on June 1"
