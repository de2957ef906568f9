"""Lists as PostgreSQL array literals: the form; that the server reads back what was meant is an integration test."""

import uuid
from datetime import UTC, datetime

from autotask.store import arrays


def test_an_empty_list_is_an_empty_array():
    assert arrays.uuids([]) == arrays.numbers([]) == arrays.texts([]) == arrays.binaries([]) == "{}"


def test_ids_and_numbers_need_no_quotes():
    assert arrays.uuids([uuid.UUID(int=1)]) == "{00000000000000000000000000000001}"
    assert arrays.numbers([1, -2, 0.5, 1e300]) == "{1,-2,0.5,1e+300}"


def test_texts_are_quoted_so_that_nothing_in_them_is_syntax():
    assert arrays.texts(["", "NULL", 'a"b', "c\\d", "{e,f}"]) == '{"","NULL","a\\"b","c\\\\d","{e,f}"}'


def test_none_is_null():
    assert arrays.texts([None]) == arrays.binaries([None]) == arrays.moments([None]) == "{NULL}"


def test_moments_and_bytes_have_the_forms_that_any_session_reads_the_same():
    assert arrays.moments([datetime(2026, 7, 1, 12, tzinfo=UTC)]) == "{2026-07-01T12:00:00+00:00}"
    assert arrays.binaries([b"\x00\xff"]) == '{"\\\\x00ff"}'
