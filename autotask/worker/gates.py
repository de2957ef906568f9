"""The gates at which held tasks wait, as a worker sees them."""

import functools
from collections.abc import Callable, Mapping

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import registry
from autotask.flow.plan import Site, present_limits
from autotask.site_limits import site
from autotask.store import gates
from autotask.store.gates import Present

#: Looks at gates in a row, while there are more marks than one look takes.
MOST_LOOKS = 10


def present() -> Present:
    """Return the limits and rates of the code and the settings.

    :raises InvalidSetting: a setting is invalid.
    """
    return _present(site(), registry.version())


@functools.lru_cache(1)
def _present(site: Site, version: int) -> Present:
    definitions = registry.definitions()
    slots = present_limits(((definition.name, definition.options.concurrency) for definition in definitions), site)
    rates = {
        definition.name: (rate.interval, rate.capacity)
        for definition in definitions
        if (rate := definition.options.rate) is not None
    }
    return Present(slots, rates)


class Gates:
    """Notifies the parts that need to know of held tasks that have become ready. Any thread may call this.

    :param call: wakes the loop, which may have to wake other workers.
    """

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._refused = gates.refusals()

    def opened(self, number: int) -> None:
        """Tell the loop how many tasks have become ready, and how many gates should be checked."""
        if number:
            self._call()

    def admit(self, connection: BaseDatabaseWrapper, room: Mapping[str, int]) -> int:
        """Look at the gates that are marked; return how many tasks have become ready.

        :param room: how many more tasks each pool of this worker can start, by the names of their executors.
        """
        ready = 0
        for _ in range(MOST_LOOKS):
            left = {executor: most and most - ready for executor, most in room.items()}
            admitted = gates.admit(connection, present(), room=left, refused=self._refused)
            ready += admitted.ready
            if not admitted.more or not all(ready < most for most in room.values() if most):
                break  # What is left is for a worker that has room.
        return ready
