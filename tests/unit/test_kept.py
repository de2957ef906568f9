"""Handlers of connections are found in each module, also in those that are imported later."""

import sys
import types

from django.utils.connection import BaseConnectionHandler

from autotask.worker.kept import _Handlers


class Handler(BaseConnectionHandler):
    """A handler as projects have it."""


def test_a_handler_of_a_module_that_is_imported_later_is_found_too(monkeypatch):
    # Given
    handlers = _Handlers()
    before = handlers.found()
    assert before == handlers.found()

    # When
    module = types.ModuleType("a_module_with_a_handler")
    module.handler = module.again = Handler()
    monkeypatch.setitem(sys.modules, module.__name__, module)

    # Then it is found once
    assert [each for each in handlers.found() if each not in before] == [module.handler]
    assert [each for each in before if each not in handlers.found()] == []
