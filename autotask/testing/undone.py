"""Whether the transaction that stored something was rolled back, without asking the database."""

import functools

from autotask.store.connection import current
from autotask.testing.transactions import held_for_commit


class Undone:
    """Follows the current transaction, or the block of it.

    Django drops its on_commit functions when it is rolled back.
    """

    def __init__(self) -> None:
        self._connection = current()
        self._committed = False
        self._commit = functools.partial(setattr, self, "_committed", True)
        self._connection.on_commit(self._commit)

    def is_undone(self) -> bool:
        """Whether it was rolled back."""
        held = held_for_commit(self._connection)
        return not self._committed and all(function is not self._commit for _, function, _ in held)
