"""Let only some coroutines of an event loop do something at a time."""

import asyncio
import weakref


class Turns:
    """Each event loop has its own semaphore: one belongs to the first loop where a coroutine has waited for it.

    :param most: coroutines at a time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._of: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = weakref.WeakKeyDictionary()

    def here(self) -> asyncio.Semaphore:
        """Return the semaphore of the running event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._of:
            self._of[loop] = asyncio.Semaphore(self._most)
        return self._of[loop]
