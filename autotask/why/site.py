"""The workers of the site, going by the settings of this process."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from autotask.conf import settings
from autotask.task import COROUTINE, PROCESS, THREAD
from autotask.texts import advice


@dataclass(frozen=True, slots=True)
class Site:
    """The part of an explanation that is not in the database.

    :ivar clock: the time of this host.
    :ivar active: False: calls run at once, and nothing is left to workers.
    :ivar companions: whether starting the site starts workers.
    :ivar sizes: how many tasks a pool runs at a time, by executor; those of threads are in the register of workers.
    :ivar poll: seconds after which an idle worker looks for work.
    :ivar beat: seconds between two heartbeats.
    :ivar patience: seconds for which an unknown task waits.
    :ivar timeout: seconds that an attempt may take, if the task does not say.
    :ivar database: the alias of the database of autotask.
    """

    clock: datetime
    active: bool
    companions: bool
    sizes: Mapping[str, int]
    poll: float
    beat: float
    patience: float
    timeout: float
    database: str

    @property
    def how_to_start(self) -> str:
        """The advice to start a worker."""
        return advice.start(companions=self.companions)

    def size(self, executor: str, threads: int) -> int | None:
        """Return the number of tasks that a pool runs at a time; None: unknown."""
        return threads if executor == THREAD else self.sizes.get(executor)


def site(clock: datetime) -> Site:
    """Return the site, going by the current settings.

    :raises InvalidSetting: a setting is invalid.
    """
    named = {name: size for name, (_, size) in settings.EXECUTORS.items()}
    return Site(
        clock=clock,
        active=settings.IS_ACTIVE and not settings.IMMEDIATE,
        companions=settings.COMPANION != "off",
        sizes={COROUTINE: settings.COROUTINES, PROCESS: settings.PROCESSES, **named},
        poll=settings.POLL_INTERVAL,
        beat=min(settings.HEARTBEAT, settings.LEASE / 3),
        patience=settings.UNKNOWN_TASK_TIMEOUT,
        timeout=settings.TIMEOUT,
        database=settings.DATABASE,
    )
