"""Rows that go to the worker with their tasks."""

import time
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

import pytest

from autotask import read_rows

VALUES = (1, None, True, 1.5, "text", b"bytes", Decimal("1.5"), uuid4(), datetime(2026, 1, 1, tzinfo=UTC))


def test_the_values_come_back():
    assert read_rows.fresh(read_rows.pack(VALUES, time.monotonic())) == VALUES


def test_old_values_count_for_nothing():
    assert read_rows.fresh(read_rows.pack(VALUES, time.monotonic() - 2 * read_rows.FRESH)) is None


@pytest.mark.parametrize("value", [[1], {"a": 1}, memoryview(b"x"), object()])
def test_unusual_types_are_left_out(value):
    assert read_rows.pack([1, value], time.monotonic()) == b""


def test_nothing_is_nothing():
    assert read_rows.fresh(b"") is None
