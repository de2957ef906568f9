"""The rare chores of a worker that may have something to do."""

from collections.abc import Iterable

from autotask.store.survey import Chore


class Chores:
    """The findings of a survey, until the chore is done. Each step on it is atomic.

    :param found: the first ones.
    """

    def __init__(self, found: Iterable[Chore] = ()) -> None:
        self._found = set(found)

    def add(self, found: Iterable[Chore]) -> None:
        """Note that chores may have something to do."""
        self._found.update(found)

    def __contains__(self, chore: Chore) -> bool:
        """Whether a chore may have something to do."""
        return chore in self._found

    def done(self, chore: Chore) -> None:
        """Forget a chore until a survey finds it again. Not if it has failed."""
        self._found.discard(chore)
