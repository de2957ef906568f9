"""Tests of code that uses background workers: captured, in place, and run by hand."""

from typing import Any

import pytest
from django.db import transaction

from autotask.exceptions import TaskFailed
from autotask.task import DONE, ERROR
from autotask.testing import captured_tasks, immediate, run_background
from tests.integration.background.app import tasks


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The lines that background workers of this process would write."""
    lines: list[tuple[Any, ...]] = []
    monkeypatch.setattr(tasks, "note", lambda *words: lines.append(words))
    return lines


@pytest.mark.django_db
def test_puts_and_triggers_are_captured(noted: list[tuple[Any, ...]]) -> None:
    with captured_tasks() as captured:
        tasks.handle.put({"to": "a"})
        tasks.rebuild.trigger()
    captured.assert_enqueued(tasks.handle, args=({"to": "a"},))
    captured.assert_enqueued(tasks.rebuild)
    captured.assert_not_enqueued(tasks.sender)
    captured.run_pending()
    assert noted == [("handle", {"to": "a"}), ("rebuild", None), ("rebuilt",)]


@pytest.mark.django_db
def test_with_immediate_they_are_handled_in_place(noted: list[tuple[Any, ...]]) -> None:
    with immediate():
        good, bad = tasks.handle.put(None), tasks.handle.put({"raise": "no"})
    assert (good.status, bad.status, noted[0]) == (DONE, ERROR, ("handle", None))
    with immediate(raise_errors=True), pytest.raises((ValueError, TaskFailed), match="no"):
        tasks.handle.put({"raise": "no"})


@pytest.mark.django_db
def test_run_background_handles_the_values_that_wait(noted: list[tuple[Any, ...]]) -> None:
    with transaction.atomic():
        handles = [tasks.sender.put(value) for value in "abc"]
    assert run_background(tasks.sender, "extra", times=2) == 2
    assert noted == [("send", "a", "extra"), ("send", "b", "extra")]
    assert [handle.status for handle in handles] == ["done", "done", "waiting"]
    assert run_background(tasks.sender, times=9) == 1


def test_run_background_runs_the_others_as_often_as_asked(noted: list[tuple[Any, ...]]) -> None:
    assert run_background(tasks.tick, times=2, options={"_name": "mine", "o": 1}) == 2
    assert run_background(tasks.coroutine) == 1
    tasks.counts_to_three.count = 0
    assert run_background(tasks.counts_to_three, times=9) == 3
    assert [line[:2] for line in noted[:2]] == [("tick", "mine")] * 2
    with pytest.raises(ValueError, match="as always"):
        run_background(tasks.failing)
    assert noted[-1] == ("on_error", "mail", "as always")
