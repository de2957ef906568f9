"""Child processes of the workers in this process, kept for the next test of a module: to start one takes a second of a processor."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from autotask.worker.pools import processes
from autotask.worker.pools.children import Child


class KeptChild(Child):
    """A child that outlives its pool: idle children wait for the next one, which has the same environment variables."""

    _idle: list["KeptChild"] = []
    _starter = ThreadPoolExecutor(1)
    _ends = False

    def __init__(self, module: str) -> None:
        self._variables = _variables()
        # It is killed when the thread that has started it ends, as those of a pool do with their worker.
        self._starter.submit(super().__init__, module).result()

    def let_go(self) -> None:
        """Keep it. The pool calls this for idle children only, before it closes them."""
        if self._ends:
            super().let_go()
        else:
            self._idle.append(self)

    def close(self) -> None:
        """End it, unless it is kept."""
        if self not in self._idle:
            self._ends = True
            super().close()

    @classmethod
    def take(cls, module: str) -> Child:
        """Return a child that was kept, or start one."""
        while cls._idle:
            child = cls._idle.pop()
            if child._process.poll() is None and child._variables == _variables():
                return child
            child.close()
        return cls(module)

    @classmethod
    def end_all(cls) -> None:
        """End those that are kept."""
        while cls._idle:
            cls._idle.pop().close()


def _variables() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@pytest.fixture(scope="module")
def kept_children() -> Iterator[None]:
    """Keep children from test to test; only for modules that do not test how children begin and end."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(processes, "Child", KeptChild.take)
        yield
    KeptChild.end_all()
