"""Lists as PostgreSQL array literals: the server reads back just what was meant."""

import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.django import TestCase

from autotask.store import arrays
from autotask.store.connection import current, rows

pytestmark = pytest.mark.django_db

#: What PostgreSQL can store: no NUL, no lone surrogates.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(timezone(timedelta(hours=5.5))))


def read_back(literal, kind):
    found = rows(current(), f"SELECT unnest(%(literal)s::{kind}[])", {"literal": literal})
    return [value for (value,) in found]


class ArraysTest(TestCase):
    @settings(deadline=None)
    @given(st.lists(st.none() | TEXTS))
    def test_texts_come_back(self, values):
        assert read_back(arrays.texts(values), "text") == values

    @settings(deadline=None)
    @given(st.lists(st.none() | st.binary()))
    def test_bytes_come_back(self, values):
        found = read_back(arrays.binaries(values), "bytea")
        assert [None if value is None else bytes(value) for value in found] == values

    @settings(deadline=None)
    @given(st.lists(st.floats(allow_nan=False)), st.lists(st.integers(-(2**63), 2**63 - 1)), st.lists(st.uuids()))
    def test_numbers_and_ids_come_back(self, floats, integers, ids):
        assert read_back(arrays.numbers(floats), "float8") == floats
        assert read_back(arrays.numbers(integers), "bigint") == integers
        assert read_back(arrays.uuids(ids), "uuid") == [uuid.UUID(str(id)) for id in ids]

    @settings(deadline=None)
    @given(st.lists(st.none() | MOMENTS))
    def test_moments_come_back(self, values):
        found = read_back(arrays.moments(values), "timestamptz")
        assert [value and value.astimezone(UTC) for value in found] == [
            value and value.astimezone(UTC) for value in values
        ]
