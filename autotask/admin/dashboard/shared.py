"""Parts of pages that all viewers see who may see the same: made once in a while, however many have the page open."""

import threading
import time
from collections.abc import Callable, Hashable

#: Seconds for which a part is shown again. Pages refresh every five.
KEPT = 3.0

#: The most parts that are kept; many viewers see different ones, for example by language and range.
MOST_KEPT = 64


class _Part:
    __slots__ = ("lock", "text", "until")

    def __init__(self, until: float) -> None:
        self.lock = threading.Lock()
        self.until = until
        self.text: str | None = None


class SharedParts:
    """Parts by what they depend on. Any thread may ask; those that ask for the same at once wait for one that makes it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parts: dict[Hashable, _Part] = {}

    def kept(self, key: Hashable) -> str | None:
        """Return a part that was made lately; None: it has to be made."""
        part = self._parts.get(key)
        return part.text if part is not None and part.until > time.monotonic() else None

    def get(self, key: Hashable, make: Callable[[], str]) -> str:
        """Return a part that was made lately, or make it."""
        part = self._part(key)
        with part.lock:
            if part.text is None:
                part.text = make()
                part.until = time.monotonic() + KEPT
            return part.text

    def _part(self, key: Hashable) -> _Part:
        now = time.monotonic()
        with self._lock:
            for other in [each for each, part in self._parts.items() if part.until <= now]:
                del self._parts[other]
            if key not in self._parts:
                if len(self._parts) >= MOST_KEPT:
                    self._parts.clear()
                # Not kept for longer than this while it is being made, either: what makes it may hang.
                self._parts[key] = _Part(now + KEPT)
            return self._parts[key]
