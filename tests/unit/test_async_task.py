import inspect
from datetime import timedelta

import pytest

from autotask.class_tasks import AsyncTask
from autotask.exceptions import (
    ConflictingOptions,
    InvalidOption,
    InvalidOptionType,
    SchemaMismatch,
    UnsuitableFunction,
    UnsuitableTaskId,
)
from autotask.flow import Flow, LimitGate
from autotask.task import LONGEST_TIME


class Forecast(AsyncTask):
    name = "tests.unit.forecast"
    rerun_time_limit = timedelta(days=1)
    max_worker = 4

    def get_task_id(self, city, day="today"):
        return f"{city}-{day}"

    def main(self, city, day="today", logger=None):
        return city, day, logger.name


class Anonymous(AsyncTask):
    def main(self, x):
        return x


def options(**attributes):
    """Return the options of a class with these attributes."""
    body = {"main": lambda self: None, "name": "tests.unit.options", **attributes}
    return type("Some", (AsyncTask,), body).definition.options


def test_its_own_names_of_options_have_defaults_and_win_over_those():
    definition = Forecast.definition
    assert definition.options.concurrency.most == 4
    assert definition.options.timeout == 4 * 3600
    assert definition.options.ttl == LONGEST_TIME
    assert options(task_timeout=5).timeout == 5
    assert options(task_timeout=None).timeout is None
    assert options(timeout=7).timeout == 7
    assert options(concurrency=2).concurrency.most == 2
    assert options().concurrency is None


def test_results_are_kept_for_as_long_as_they_count():
    assert options(ttl=60).ttl == 60
    assert options(ttl=60, rerun_time_limit=timedelta(minutes=2)).ttl == 120


@pytest.mark.parametrize(
    "attributes",
    [{"task_timeout": 5, "timeout": 7}, {"max_worker": 5, "concurrency": 7}, {"unique": True}, {"debounce": 5}],
)
def test_options_that_say_the_same_are_refused(attributes):
    with pytest.raises(ConflictingOptions):
        options(**attributes)


@pytest.mark.parametrize("attributes", [{"task_timeout": -5}, {"task_timeout": "4 hours"}, {"max_worker": 0}])
def test_a_wrong_option_is_named_as_it_is_written(attributes):
    [own] = attributes
    with pytest.raises((InvalidOption, InvalidOptionType, InvalidOptionType), match=f"The option '{own}' of the class"):
        options(**attributes)


def test_a_wrong_limit_is_refused():
    with pytest.raises(InvalidOption, match="'rerun_time_limit' of the class"):
        options(rerun_time_limit=-1)


def test_the_logger_is_no_parameter_of_calls():
    assert list(Forecast.definition.signature.parameters) == ["city", "day"]
    assert Forecast.definition.schema["required"] == ["city"]
    assert Forecast.definition.call("Oslo")[2].startswith("autotask.task.")


@pytest.mark.parametrize(
    "main",
    [
        lambda self, logger, city, *days, **more: (city, days, more, logger.name[:14]),
        lambda self, city, *days, logger, **more: (city, days, more, logger.name[:14]),
    ],
)
def test_the_logger_can_be_in_any_place(main):
    some = type("Some", (AsyncTask,), {"main": main, "name": "tests.unit.logger"})
    expected = ("Oslo", (1, 2), {"x": 3}, "autotask.task.")
    assert some.definition.call("Oslo", 1, 2, x=3) == expected


def test_a_call_has_its_id_as_its_key():
    task = Forecast.definition.new_call(("Oslo",), {})
    assert task.flow.unique_key == "tests.unit.forecast(Oslo-today)"
    assert task.flow.once
    assert [gate.base for gate in task.flow.gates] == ["tests.unit.forecast"]
    assert Forecast.definition.task_id(task.flow) == "Oslo-today"


def test_without_ids_of_its_own_each_call_has_a_new_one():
    ids = [Anonymous.definition.task_id(Anonymous.definition.new_call((1,), {}).flow) for _ in range(2)]
    assert [len(bytes.fromhex(id)) for id in ids] == [16, 16]
    assert ids[0] != ids[1]


@pytest.mark.parametrize("wrong", ["", "x" * 201, "a\nb", "a\0", "\ud800", 5, None, b"x"])
def test_ids_are_short_and_printable(wrong):
    class Wrong(AsyncTask):
        name = "tests.unit.wrong"

        def get_task_id(self, x):
            return x

        def main(self, x): ...

    with pytest.raises(UnsuitableTaskId, match="must return 1 to 200 printable characters"):
        Wrong.definition.new_call((wrong,), {})
    assert Wrong.definition.new_call(("../é 漢",), {}).flow.unique_key == "tests.unit.wrong(../é 漢)"


def test_the_parameters_of_both_methods_are_the_same():
    with pytest.raises(
        InvalidOption,
        match=r"'get_task_id' .* must be a method with the parameters of main\(\), \(city\)",
    ):

        class Wrong(AsyncTask):
            def get_task_id(self, town): ...

            def main(self, city): ...


def test_main_has_no_parameter_for_the_id():
    with pytest.raises(UnsuitableFunction, match="it has a parameter task_id"):

        class Wrong(AsyncTask):
            def main(self, task_id): ...


@pytest.mark.parametrize("arguments", [{}, {"city": "Oslo", "bogus": 1}])
def test_arguments_that_do_not_fit_are_refused_at_the_call(arguments):
    with pytest.raises(SchemaMismatch):
        Forecast.run(**arguments)


def test_a_flow_says_that_there_is_one_task_for_its_key():
    gate = LimitGate("limit:x", "x", 3)
    for flow in (Flow((gate,), "a(1)", True), Flow((), "a(1)", True), Flow((), "a(1)")):
        again = Flow.load(flow.stored)
        assert (again.gates, again.unique_key, again.once) == (flow.gates, flow.unique_key, flow.once)


def test_a_base_without_main_is_no_task():
    class Base(AsyncTask):
        max_worker = 3

    class Task(Base):
        name = "tests.unit.task"

        async def main(self, x): ...

    assert Task.definition.is_async
    assert Task.definition.options.concurrency.most == 3
    assert str(inspect.signature(Task.definition.function)) == "(x)"
    with pytest.raises(UnsuitableFunction):
        Base.run(x=1)
