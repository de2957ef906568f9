"""A handle can be made of any id of a task, and of nothing else."""

import uuid

import pytest

from autotask.exceptions import InvalidOption, InvalidOptionType
from autotask.handle import TaskHandle

ID = uuid.UUID("0198c0de-0000-7000-8000-000000000001")


def test_the_id_may_be_text():
    assert TaskHandle(str(ID)).id == ID
    assert TaskHandle(str(ID)) == TaskHandle(ID)


@pytest.mark.parametrize("id", ["nonsense", "", f"{ID}0"])
def test_text_that_is_no_id_is_refused(id):
    with pytest.raises(InvalidOption, match=f"'id' of TaskHandle must be a UUID, or the text of one, but is '{id}'"):
        TaskHandle(id)


@pytest.mark.parametrize("id", [5, None, ID.bytes, TaskHandle(ID)])
def test_what_is_neither_id_nor_text_is_refused(id):
    with pytest.raises(InvalidOptionType, match=f"must be a UUID, or the text of one, .*of type {type(id).__name__}"):
        TaskHandle(id)
