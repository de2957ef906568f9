"""Numbers, durations and moments as readers of each language expect them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.utils import translation

from autotask.texts import localized

MOMENT = datetime(2026, 11, 30, 6, 52, 11, 123456, tzinfo=timezone(timedelta(hours=1)))

CASES = [
    (localized.whole, (7,), "7", "7"),
    (localized.whole, (1_230_000,), "1,230,000", "1.230.000"),
    (localized.amount, (1234.0,), "1,234", "1.234"),
    (localized.amount, (8.65599544100002,), "8.66", "8,66"),
    (localized.amount, (2.5,), "2.5", "2,5"),
    (localized.amount, (1234.5,), "1,234.5", "1.234,5"),
    (localized.amount, (999.999,), "1,000", "1.000"),
    (localized.amount, (0.0251,), "0.025", "0,025"),
    (localized.amount, (float("nan"),), "nan", "nan"),
    (localized.share, (0.025,), "2.5%", "2,5\N{NO-BREAK SPACE}%"),
    (localized.share, (1,), "100%", "100\N{NO-BREAK SPACE}%"),
    (localized.share, (0,), "0%", "0\N{NO-BREAK SPACE}%"),
    (localized.share, (0.9999,), ">99.9%", ">99,9\N{NO-BREAK SPACE}%"),
    (localized.share, (1e-9,), "<0.1%", "<0,1\N{NO-BREAK SPACE}%"),
    (localized.share, (0.996, 0), ">99%", ">99\N{NO-BREAK SPACE}%"),
    (localized.share, (0.29, 0), "29%", "29\N{NO-BREAK SPACE}%"),
    (localized.in_words, (-1,), "0.0 s", "0,0 s"),
    (localized.in_words, (12.4,), "12 s", "12 s"),
    (localized.in_words, (200,), "3 min 20 s", "3 min 20 s"),
    (localized.in_words, (3600,), "1 h", "1 Std."),
    (localized.in_words, (188_000,), "2 d 4 h", "2 T. 4 Std."),
    (localized.precisely, (0.0123,), "12 ms", "12 ms"),
    (localized.precisely, (12.34,), "12.3 s", "12,3 s"),
    (localized.precisely, (59.96,), "1 min", "1 min"),
    (localized.moment, (MOMENT,), "2026-11-30 06:52:11", "30.11.2026 06:52:11"),
]


@pytest.mark.parametrize(("function", "arguments", "english", "german"), CASES)
def test_numbers_durations_and_moments_have_the_form_of_the_language(function, arguments, english, german):
    with translation.override("en"):
        assert function(*arguments) == english
    with translation.override("de"):
        assert function(*arguments) == german


def test_the_exact_moment_has_parts_of_the_second_and_its_zone():
    with translation.override("de"):
        assert localized.moment(MOMENT, digits=3, zone=True) == "30.11.2026 06:52:11,123+01:00"
    with translation.override("en"):
        assert localized.moment(MOMENT.astimezone(UTC), zone=True) == "2026-11-30 05:52:11+00:00"


def test_a_moment_without_a_zone_has_none():
    assert localized.moment(MOMENT.replace(tzinfo=None), zone=True).endswith("06:52:11")
