"""What cannot be a task is refused where it is decorated, and what only hides that is told from what a function returned."""

import asyncio
import contextlib
import functools
import gc
import warnings

import pytest
from django.db import transaction

from autotask import registry
from autotask.exceptions import AutotaskError, UnsuitableFunction
from autotask.functions import is_coroutine_function, still_to_be_run
from autotask.tasks import cron_task, delayed_task, periodic_task

DECORATORS = [delayed_task, periodic_task(60), cron_task(minutes=5)]


@pytest.fixture(autouse=True)
def _only_own_definitions(monkeypatch):
    monkeypatch.setattr(registry, "_definitions", {})
    monkeypatch.setattr(registry, "_duplicates", [])


def generate():
    """Run nothing when it is called."""
    yield 1


async def generate_later():
    """Run nothing when it is called, nor when that is awaited."""
    yield 1


async def note():
    """Be a coroutine function."""
    return "noted"


def polite(function):
    """Hide what a function is."""

    @functools.wraps(function)
    def inner(*args):
        return function(*args)

    return inner


class Waits:
    """Can be called like a coroutine function."""

    async def __call__(self):
        """Do nothing."""


class Yields:
    """Can be called like a generator function."""

    def __call__(self):
        """Yield something."""
        yield 1


# --- generators -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decorate", DECORATORS)
@pytest.mark.parametrize("function", [generate, generate_later, functools.partial(generate), Yields()])
def test_a_generator_function_is_refused(decorate, function):
    with pytest.raises(UnsuitableFunction, match="generator function") as caught:
        decorate(function)
    assert "Return a list" in str(caught.value)
    assert isinstance(caught.value, TypeError)


# --- methods --------------------------------------------------------------------------------------------------------


def refusal(make) -> AutotaskError:
    """Return with what a class body was refused; before Python 3.12 it is the cause of a RuntimeError."""
    with pytest.raises((UnsuitableFunction, RuntimeError)) as caught:
        make()
    error = caught.value if isinstance(caught.value, UnsuitableFunction) else caught.value.__cause__
    assert isinstance(error, UnsuitableFunction)
    return error


@pytest.mark.parametrize("decorate", DECORATORS)
def test_a_method_is_refused_in_the_class_body(decorate):
    def define():
        class Report:
            @decorate
            def build(self=None): ...

    error = refusal(define)
    assert "Report.build" in str(error) and "method" in str(error) and "module" in str(error)


def test_a_coroutine_method_and_a_lambda_in_a_class_body_are_refused_too():
    def define_async():
        class Report:
            @delayed_task
            async def build(self): ...

    def define_lambda():
        class Report:
            build = delayed_task(name="build")(lambda self: None)

    assert "Report.build" in str(refusal(define_async))
    assert "lambda" in str(refusal(define_lambda))


def test_static_methods_and_class_methods_can_be_tasks():
    class Report:
        @staticmethod
        @delayed_task
        def above(copies): ...

        @delayed_task
        @staticmethod
        async def below(copies): ...

        @classmethod
        @delayed_task
        def of_the_class(cls, copies): ...

    assert Report.above.accepts((5,), {})
    assert Report.below.accepts((5,), {}) and Report.below.is_async


def test_a_task_of_a_module_may_be_an_attribute_of_a_class():
    task = delayed_task(one)

    class Report:
        build = task

    assert Report.build is task and Report().build is task


def one():
    """Do nothing."""


# --- coroutine functions in disguise --------------------------------------------------------------------------------


def test_what_is_called_like_a_coroutine_function_is_one():
    assert is_coroutine_function(note)
    assert is_coroutine_function(functools.partial(note))
    assert is_coroutine_function(Waits())
    assert is_coroutine_function(staticmethod(note))
    assert not is_coroutine_function(one)
    assert not is_coroutine_function(polite(note))
    assert delayed_task(name="waits")(Waits()).is_async


@contextlib.contextmanager
def block():
    """Be a block that can decorate functions."""
    yield


@pytest.mark.parametrize("decorator", [transaction.atomic, block(), lambda function: polite(block()(function))])
@pytest.mark.parametrize(("function", "what"), [(note, "coroutine function"), (generate, "generator function")])
def test_a_block_that_is_over_before_the_function_runs_is_refused(decorator, function, what):
    with pytest.raises(UnsuitableFunction, match=what) as caught:
        delayed_task(decorator(function))
    assert function.__name__ in str(caught.value) and "before anything of it runs" in str(caught.value)


def test_a_wrapper_that_runs_the_coroutine_is_fine():
    @functools.wraps(note)
    def run():
        return asyncio.run(note())

    assert not delayed_task(run).is_async


def test_atomic_is_refused_for_whatever_is_called_like_a_coroutine_function():
    with pytest.raises(ValueError, match="atomic"):
        delayed_task(name="waits", atomic=True)(Waits())


def test_what_still_has_to_be_run_is_named_and_closed():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert still_to_be_run(note()) == "a coroutine"
        assert still_to_be_run(generate()) == "a generator"
        assert still_to_be_run(generate_later()) == "an async generator"
        assert still_to_be_run([1]) == ""
        gc.collect()
