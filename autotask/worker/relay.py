"""Service: put remote tasks into Redis, where the engine ``redis`` of the client of django-simpletask2 takes them."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.exceptions import ExtraMissing, InvalidSetting
from autotask.redis_address import address
from autotask.store import model_rows, pull
from autotask.store.pull import Offered
from autotask.texts.lines import describe, one_line

if TYPE_CHECKING:
    from redis import Redis

logger = logging.getLogger("autotask.worker")

#: The list of a channel, as clients know it.
LIST = "django-simpletask2:channels:{channel}"

#: The most tasks in a list; the others are put there as clients take these, once half of them are gone.
MOST = 100

#: Seconds between two looks: the first while tasks wait for room in a list, twice as long each time that nothing has changed;
#: otherwise a notification comes with a new task, and only offers lapse without one.
SOON = 0.1
LONGEST = 1.0

#: Seconds after a notification until a look, while more tasks wait than lists take: it can be one of many.
AT_ONCE = 0.02

#: Seconds for which Redis may take to answer.
PATIENCE = 5.0


class Relay:
    """Offers tasks to clients that take them from Redis.

    A task in the list that is not begun in time is offered again, like any other; it is not put into the list twice.
    """

    doing = "put tasks into Redis"

    def __init__(self) -> None:
        self._redis: Redis | None = None
        self._is_away = False
        self._wait = LONGEST
        self._more_wait = False
        #: The tasks that were in each list after the last look.
        self._lengths: dict[str, int] = {}

    def told(self, payload: str) -> float:
        """Return the seconds until the next look, after a notification of a new task."""
        return AT_ONCE if self._more_wait else 0.0

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Fill the lists of all channels; return the seconds until the next look."""
        from redis import RedisError  # only where it is used

        try:
            self._more_wait, moved = self._fill(connection)
        except RedisError as error:
            self._redis = None
            if not self._is_away:
                logger.warning("Cannot put tasks into Redis, will try again: %s", one_line(describe(error)))
            self._is_away = True
            return LONGEST
        if self._is_away:
            logger.info("Can put tasks into Redis again")
        self._is_away = False
        self._wait = SOON if moved else min(2 * self._wait, LONGEST)
        return self._wait if self._more_wait else LONGEST

    def _fill(self, connection: BaseDatabaseWrapper) -> tuple[bool, bool]:
        """Return whether more tasks may wait, and whether clients have taken some, or some were put into a list."""
        more, moved, before, self._lengths = False, False, self._lengths, {}
        for channel in pull.channels(connection):
            redis = self._connected()
            key = LIST.format(channel=channel)
            length = redis.llen(key)
            moved = moved or length != before.get(key)
            if length > MOST // 2:  # Enough: the others come in one statement.
                more, self._lengths[key] = True, length
                continue
            there = {_text(each) for each in redis.lrange(key, 0, 2 * MOST)}
            offered = pull.take(connection, [channel], list(model_rows.tables), most=MOST - len(there))
            more = more or len(offered) == MOST - len(there)
            put = self._put(connection, redis, key, [each for each in offered if each.task_info not in there])
            moved, self._lengths[key] = moved or put > 0, length + put
        return more, moved

    def _put(self, connection: BaseDatabaseWrapper, redis: "Redis", key: str, offered: Sequence[Offered]) -> int:
        """Put tasks into a list, and return how many."""
        if not offered:
            return 0
        try:
            redis.rpush(key, *[each.task_info for each in offered])
        except BaseException:
            pull.withdraw(connection, offered)
            raise
        return len(offered)

    def _connected(self) -> "Redis":
        if self._redis is None:
            import redis  # as above

            place = address()
            assert place is not None  # else there is no relay
            self._redis = redis.Redis.from_url(place, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE)
        return self._redis


def can_run() -> bool:
    """Whether tasks should be put into Redis; what keeps them from it is logged."""
    try:
        if address() is None:
            return False
        import redis  # noqa: F401 - as above
    except InvalidSetting as error:
        logger.error("Tasks are not put into Redis: %s", error)
        return False
    except ImportError:
        logger.error("Tasks are not put into Redis: %s", ExtraMissing(what="That", package="redis", extra="redis"))
        return False
    return True


def _text(value: Any) -> str:
    # As the project has set it: ?decode_responses=True in its address.
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
