import inspect
from typing import get_type_hints

import pytest
from django.db import transaction

from autotask import context as contexts, registry
from autotask.class_tasks import BaseTask
from autotask.class_tasks.core import OptionAttributes
from autotask.context import TaskContext
from autotask.exceptions import InvalidOption, InvalidOptionType, SchemaMismatch, UnsuitableFunction
from autotask.flow.limits import Limit
from autotask.options import DEFINITION_OPTION_NAMES
from autotask.tasks import delayed_task
from autotask.testing.expectation import Expectation


class Report(BaseTask):
    """Make a report."""

    name = "tests.unit.report"
    retries = 3
    concurrency = 2
    json_schema = {"properties": {"year": {"minimum": 2000}}}
    api = True

    def run(self, year: int, *, draft: bool = False) -> str:
        return f"{self.title()} {year}{' (draft)' if draft else ''}"

    def title(self) -> str:
        return "Report"


class Monthly(Report):
    retries = 5

    def title(self):
        return f"Monthly report, attempt {self.context.attempt}"


class Fetch(BaseTask):
    async def run(self, url):
        return f"{url} {self.arguments}"


def test_a_class_is_registered_when_it_is_made():
    definition = registry.get("tests.unit.report")
    assert definition is Report.definition
    assert (definition.options.retries, definition.options.api) == (3, True)
    assert isinstance(definition.options.concurrency, Limit)
    assert definition.__doc__ == "Make a report."
    assert registry.duplicates() == tuple(pair for pair in registry.duplicates() if definition not in pair)


def test_the_name_is_that_of_the_class_and_never_that_of_a_base():
    assert Monthly.definition.name == "tests.unit.test_class_tasks.Monthly"
    assert registry.get("tests.unit.test_class_tasks.Fetch").is_async


def test_options_and_methods_are_inherited():
    assert Monthly.definition.options.retries == 5
    assert Monthly.definition.options.api is True
    assert Monthly.call(2026) == "Monthly report, attempt 1 2026"
    assert Report.definition.options.retries == 3


def test_a_class_without_the_method_or_marked_as_abstract_is_no_task():
    class Base(BaseTask):
        retries = 7

    class Middle(Base):
        abstract = True

        def run(self): ...

    class Last(Middle):
        name = "tests.unit.last"

    assert Last.definition.options.retries == 7
    for abstract in (BaseTask, Base, Middle):
        with pytest.raises(UnsuitableFunction, match="cannot be a task: it is abstract. Use a class that has run()"):
            abstract.enqueue()


def test_an_abstract_class_of_one_that_is_a_task_is_no_task_either():
    class Abstract(Report):
        abstract = True

    with pytest.raises(UnsuitableFunction, match=r"Abstract cannot be a task"):
        Abstract.enqueue(2026)


def test_a_wrong_option_is_refused_where_the_class_is_written():
    with pytest.raises(InvalidOption, match=r"'retries' of the class tests\.unit\.test_class_tasks\..*Wrong must be"):

        class Wrong(BaseTask):
            retries = -1

            def run(self): ...

    with pytest.raises(InvalidOptionType, match=r"'name' of the class .*Unnamed must be a string"):

        class Unnamed(BaseTask):
            name = 5

            def run(self): ...


def test_an_attribute_that_is_nearly_an_option_is_told_and_others_are_not(caplog):
    class Slip(BaseTask):
        retires = 3
        _timeot = 5
        page_size = 50
        retries = 1

        def run(self): ...

        def rates(self): ...

    assert [record.getMessage().partition(" of the class ")[0] for record in caplog.records] == [
        "The attribute 'retires'"
    ]
    assert "Did you mean 'retries'?" in caplog.text


def test_a_key_names_parameters_of_the_method():
    class Sync(BaseTask):
        unique = "account_id"

        def run(self, account_id, full=False): ...

    assert list(Sync.definition.signature.parameters) == ["account_id", "full"]
    with pytest.raises(InvalidOption, match="made of parameters of the function"):

        class Wrong(BaseTask):
            unique = "self"

            def run(self, account_id): ...


def test_methods_that_would_run_nothing_are_refused():
    with pytest.raises(UnsuitableFunction, match="it is a generator function"):

        class Generator(BaseTask):
            def run(self):
                yield

    with pytest.raises(UnsuitableFunction, match="inside a decorator like @transaction.atomic"):

        class Block(BaseTask):
            @transaction.atomic
            async def run(self): ...


def test_the_method_may_be_static_or_of_the_class():
    class Static(BaseTask):
        @staticmethod
        def run(x):
            return x + 1

    class OfClass(BaseTask):
        @classmethod
        def run(cls, x):
            return cls.__name__, x

    assert Static.call(1) == 2
    assert OfClass.call(1) == ("OfClass", 1)


def test_a_call_in_place_runs_a_fresh_instance_with_its_context():
    class Count(BaseTask):
        def __init__(self):
            self.count = 0

        def before_start(self):
            self.count += self.arguments["by"]

        def run(self, by=10):
            self.count += by
            return self.count

    assert [Count.call(5), Count.call(by=7)] == [10, 14]
    assert Fetch.call("x") == "x {'url': 'x'}"


def test_the_context_is_that_of_the_task_that_calls(monkeypatch):
    class Who(BaseTask):
        takes_context = True

        def run(self, context, x):
            assert context is self.context
            return context.attempt, x

    outer = TaskContext(contexts.uuid.uuid4(), "outer", attempt=4)
    monkeypatch.setattr(contexts, "current", lambda: outer)
    assert Who.call("x") == (4, "x")


def test_arguments_are_checked_where_the_call_is_written():
    with pytest.raises(TypeError, match="missing a required argument: 'year'"):
        Report.enqueue()
    with pytest.raises(SchemaMismatch, match="1999 is less than the minimum of 2000"):
        Report.enqueue(1999)


def test_parameters_may_have_any_name():
    class Named(BaseTask):
        def run(this, cls, self):
            return cls, self

    assert Named.call(cls=1, self=2) == (1, 2)
    assert Named.definition.new_call((), {"cls": 1, "self": 2}).arguments == "cls=1, self=2"


def test_using_changes_options_of_one_call_and_an_instance_can_be_called():
    assert Report.using(priority=9).options.priority == 9
    assert Report.using(priority=9).owner is Report
    with pytest.raises(SchemaMismatch):
        Report()(1999)


def test_with_the_switch_off_an_instance_runs_in_place(settings):
    settings.AUTOTASK_IS_ACTIVE = False
    assert Report()(2026, draft=True) == "Report 2026 (draft)"


def test_a_decorated_method_is_refused():
    with pytest.raises((UnsuitableFunction, RuntimeError)) as caught:

        class Decorated(BaseTask):
            @delayed_task
            def run(self): ...

    assert "it is a method" in str(caught.value.__cause__ or caught.value)


def test_its_schema_is_made_of_the_hints_of_the_method():
    class Hinted(BaseTask):
        def run(self, year: int, tags: list[str] = ()): ...

    assert Hinted.definition.schema["properties"]["year"] == {"type": "integer"}
    assert Hinted.definition.schema["required"] == ["year"]


def test_a_test_can_name_the_class():
    assert Expectation.of(Report, (2026,), None, None).name == "tests.unit.report"
    with pytest.raises(TypeError, match="Expected a decorated function, a task class or the name of a task"):
        Expectation.of(BaseTask, None, None, None)


def test_every_option_has_a_type_as_an_attribute():
    # A new option needs a line in OptionAttributes, too.
    assert set(get_type_hints(OptionAttributes)) == {"name", *DEFINITION_OPTION_NAMES}


def test_the_function_of_a_definition_looks_like_the_method():
    function = Report.definition.function
    assert (function.__module__, function.__qualname__) == (__name__, "Report")
    assert str(inspect.signature(function)) == "(year: int, *, draft: bool = False) -> str"
    assert function(2026) == "Report 2026"
