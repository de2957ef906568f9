"""What each kind of background worker does."""

from collections.abc import Sequence
from typing import Any

from autotask.models import Task
from tests.helpers import LONG, PATIENCE, wait_until
from tests.integration.background.app import tasks
from tests.integration.background.conftest import Lines, Start


def gaps(lines: Sequence[Sequence[Any]]) -> list[float]:
    """Return the seconds between lines."""
    return [later[0] - sooner[0] for sooner, later in zip(lines, lines[1:], strict=False)]


def test_a_plain_one_runs_again_and_again_with_pauses(start: Start, lines: Lines) -> None:
    start()
    assert tasks.endless.start()
    found = lines.wait_for("endless", 5)
    assert min(gaps(found)) >= 0.08
    tasks.endless.stop()
    count = len(lines.all("endless"))
    assert (tasks.endless.is_stopped(), tasks.endless.is_active()) == (True, False)
    assert len(lines.all("endless")) == count


def test_exactly_false_stops_it(start: Start, lines: Lines) -> None:
    start()
    tasks.counts_to_three.start()
    wait_until(lambda: len(lines.all("count")) == 3 and tasks.counts_to_three.is_stopped())
    assert not tasks.counts_to_three.is_active()
    assert lines.words("count") == [1, 2, 3]


def test_coroutine_functions_run_on_one_loop(start: Start, lines: Lines) -> None:
    start()
    tasks.coroutine.start()
    assert {line[3] for line in lines.wait_for("coroutine", 5)} == {"autotask-loop"}


def test_those_with_the_same_loop_share_its_thread_and_hold_up_no_other(start: Start, lines: Lines) -> None:
    start()
    for worker in (tasks.shares_one, tasks.shares_two, tasks.coroutine):
        worker.start()
    shared = lines.wait_for("shares_one", 2)[:1] + lines.wait_for("shares_two", 2)[:1]
    assert {line[3] for line in shared} == {"autotask-loop-io"}
    lines.wait_for("coroutine", 5)
    # shares_two blocks its loop for 0.3 s at a time.
    blocked = lines.wait_for("shares_two", 4)
    others = [line[0] for line in lines.all("coroutine")]
    assert any(blocked[1][0] < moment < blocked[1][0] + 0.3 for moment in others)


def test_what_is_put_is_handled_in_order_and_none_is_a_value(start: Start, lines: Lines) -> None:
    tasks.handle.put(1)
    start()
    tasks.handle.start()
    lines.wait_for("handle", 1)
    handles = [tasks.handle.put(value) for value in (None, 2, "three", [4])]
    assert [handle.wait(20) for handle in handles] == [None] * 4
    assert lines.words("handle") == [1, None, 2, "three", [4]]


def test_larger_priorities_are_handled_first(start: Start, lines: Lines) -> None:
    for value, priority in (("low", -50), ("first", 0), ("second", 0), ("high", 50)):
        tasks.handle.put(value, priority=priority)
    start()
    tasks.handle.start()
    lines.wait_for("handle", 4)
    assert lines.words("handle") == ["high", "first", "second", "low"]


def test_arguments_of_the_start_follow_what_was_put(start: Start, lines: Lines) -> None:
    start()
    tasks.sender.start("by mail", 7)
    tasks.sender.put("letter")
    assert lines.wait_for("send")[0][3:] == ["letter", "by mail", 7]


def test_triggers_are_one_run_and_one_during_a_run_makes_one_more(start: Start, lines: Lines) -> None:
    for _ in range(3):
        tasks.rebuild.trigger()
    start()
    tasks.rebuild.start()
    lines.wait_for("rebuild")
    tasks.rebuild.trigger()
    tasks.rebuild.trigger(force=True)
    lines.wait_for("rebuilt", 2)
    handle = tasks.rebuild.trigger()
    handle.wait(20)
    assert len(lines.all("rebuild")) == len(lines.all("rebuilt")) == 3
    assert lines.words("rebuild") == [None] * 3


def test_more_triggers_than_fit_into_one_claim_are_handled(start: Start, lines: Lines) -> None:
    handles = [tasks.rebuild.trigger(force=True) for _ in range(600)]
    start()
    tasks.rebuild.start()
    assert handles[-1] is not None
    handles[-1].wait(20)
    lines.wait_for("rebuilt", 2)
    wait_until(lambda: not Task.objects.exists())
    assert len(lines.all("rebuilt")) == 2


def test_an_interval_is_from_start_to_start_without_drift(start: Start, lines: Lines) -> None:
    start()
    interval, count = (0.5, 120) if LONG else (0.25, 13)
    tasks.tick.start(0.2, _interval=interval)
    found = lines.wait_for("tick", count, 2 * interval * count)
    late = [line[0] - found[0][0] - interval * number for number, line in enumerate(found)]
    assert max(map(abs, late)) < 0.05 * PATIENCE, late


def test_after_a_run_that_is_too_long_the_next_follows_at_once(start: Start, lines: Lines) -> None:
    start()
    tasks.tick.start(seconds=0.3, _interval=0.2)
    lines.wait_for("tick", 4)
    ends, starts = lines.all("ticked"), lines.all("tick")
    pauses = [begun[0] - ended[0] for begun, ended in zip(starts[1:], ends, strict=False)]
    assert all(0 <= pause < 0.1 * PATIENCE for pause in pauses), pauses


def test_a_delay_is_from_end_to_start(start: Start, lines: Lines) -> None:
    start()
    tasks.pause.start()
    assert all(0.8 <= gap < 0.8 + 0.15 * PATIENCE for gap in gaps(lines.wait_for("pause", 3)))


def test_a_delay_before_comes_before_each_run(start: Start, lines: Lines) -> None:
    start()
    tasks.pause_before.start()
    assert all(0.3 <= gap < 0.3 + 0.15 * PATIENCE for gap in gaps(lines.wait_for("before", 4)))


def test_a_trigger_of_an_interval_runs_at_once_and_leaves_the_ticks(start: Start, lines: Lines) -> None:
    start()
    tasks.tick.start(_interval=2)
    lines.wait_for("tick")
    tasks.tick.trigger().wait(20)
    first, triggered, second = lines.wait_for("tick", 3)
    assert triggered[0] - first[0] < 1.5
    assert abs(second[0] - first[0] - 2) < 0.1 * PATIENCE


def test_options_of_a_start_hold_until_it_is_stopped(start: Start, lines: Lines) -> None:
    start()
    tasks.tick.start(_interval=0.1, _name="other", o="object")
    assert lines.wait_for("tick", 5)[0][3:] == ["other", "object"]
    tasks.tick.stop()
    count = len(lines.all("tick"))
    tasks.tick.start()
    found = lines.wait_for("tick", count + 3)[count:]
    assert all(abs(gap - 0.5) < 0.1 * PATIENCE for gap in gaps(found))
    assert found[0][3:] == [tasks.tick.name, None]


def test_stop_waits_no_longer_than_asked_and_the_run_still_ends(start: Start, lines: Lines) -> None:
    start()
    tasks.handle.start()
    tasks.handle.put({"seconds": 0.5})
    tasks.handle.put("later")
    lines.wait_for("handle")
    tasks.handle.stop(wait=0.05)
    assert not lines.all("handled")
    lines.wait_for("handled")
    wait_until(tasks.handle.is_stopped)
    assert lines.words("handle") == [{"seconds": 0.5}]
    tasks.handle.start()
    lines.wait_for("handle", 2)


def test_stop_waits_for_the_run_of_each_kind(start: Start, lines: Lines) -> None:
    # Given
    start()
    ends = {"handle": "handled", "rebuild": "rebuilt", "tick": "ticked", "shares_two": "shared", "patient": "asked"}
    workers = {name: getattr(tasks, name) for name in ends}
    for name, worker in workers.items():
        worker.start(*([0.3] if name == "tick" else []))
    tasks.handle.put({"seconds": 0.3})
    tasks.rebuild.trigger()

    for name, end in ends.items():
        # When
        lines.wait_for(name)
        workers[name].stop()

        # Then
        assert len(lines.all(end)) == len(lines.all(name)), name
