"""Service: host background workers: take those that nobody hosts, start and end their instances, write down what they do."""

import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.background.options import HOST, MESSAGED, SITE
from autotask.background.workers import BackgroundWorker, declared
from autotask.conf import settings
from autotask.store import background, background_hosting, inbox
from autotask.store.background_hosting import Seen
from autotask.store.connection import keeps_session
from autotask.worker.background import loops
from autotask.worker.background.instance import Instance, Parts

logger = logging.getLogger("autotask.background")

#: Seconds between two looks if nothing is notified.
LOOK_EVERY = 10.0

#: The same behind a pooler, where nothing is heard.
DEAF_LOOK = 0.5

#: Seconds before its time at which a look still counts as punctual: services count from the beginning of a run.
PUNCTUAL = 0.01

#: Seconds for which a worker leaves an instance to others, if it hosts its share.
COURTESY = 0.5

#: Seconds between two log lines about a lack of threads.
SAY_EVERY = 60.0

FORGET_EVERY = 600.0

#: Seconds until another try with one that could not be started here.
REST = 30.0

#: Seconds between two writes of what instances have done, while they do anything.
NOTE_EVERY = 5.0


@dataclass(eq=False, slots=True)
class Care:
    """Decides which instances this worker hosts. Only the thread of the service calls it, except where said.

    :param serves: returns whether a queue is served.
    :ivar instances: by the name of the background worker. Other threads may read it.
    :ivar stopping: whether nothing new is taken, and all instances end.
    """

    parts: Parts
    serves: Callable[[str], bool]
    instances: dict[str, Instance] = field(default_factory=dict, init=False)
    stopping: bool = field(default=False, init=False)
    doing: str = field(default="look after background workers", init=False)
    _in_doubt: bool = field(default=False, init=False)
    _calls: set[str] = field(default_factory=set, init=False)
    _due_at: float = field(default=float("-inf"), init=False)
    _note_at: float = field(default=float("-inf"), init=False)
    _free_since: dict[str, float] = field(default_factory=dict, init=False)
    _forget_at: float = field(default_factory=lambda: time.monotonic() + FORGET_EVERY, init=False)
    _rest_until: dict[str, float] = field(default_factory=dict, init=False)
    _said_at: float = field(default=float("-inf"), init=False)

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Look once, and return the seconds until the next look."""
        now = time.monotonic()
        is_early = now < self._due_at - PUNCTUAL
        self._bury_ended(connection)
        self._release_left(connection)
        self._pass_on_calls(connection)
        wait = LOOK_EVERY if self.stopping else self._look(connection, now)
        if now >= self._note_at:
            self._write_down(connection)
        if self._has_news():
            wait = min(wait, max(0.0, self._note_at - time.monotonic()))
        if is_early:
            wait = min(wait, background.LOOK_AGAIN)
        elif not keeps_session(connection):
            wait = min(wait, DEAF_LOOK)
        self._due_at = now + wait
        if now >= self._forget_at:
            self._forget_at = now + FORGET_EVERY
            background_hosting.forget(connection)
            self.parts.lending.thin_out()
        return wait

    def ask_all(self) -> None:
        """Have all instances end after their current runs. Any thread may call this."""
        self.stopping = True
        for instance in list(self.instances.values()):
            instance.ask()

    def wake(self, name: str) -> bool:
        """Wake the only instance of a background worker, if it is here; otherwise note to call the hosts. For any thread.

        :returns: whether it is here.
        """
        instance = self.instances.get(name)
        if instance is not None:
            instance.wake()
            if instance.grant.place == "":
                return True
        self._calls.add(name)
        return False

    def told(self, name: str) -> float:
        """Wake the instance of a background worker for which a message has come, without a look. The service calls this.

        :returns: the seconds until a look: for values that it puts soon afterwards, the caller notifies nobody.
        """
        if (instance := self.instances.get(name)) is None:
            return 0.0
        instance.wake()
        self._due_at = time.monotonic() + background.LOOK_AGAIN
        return background.LOOK_AGAIN

    def doubt(self) -> None:
        """Have messages released that may have got lost on their way here. Any thread may call this."""
        for instance in list(self.instances.values()):
            instance.handed.doubt()
        self._in_doubt = True

    def running(self) -> list[Instance]:
        """Return the instances that have not ended. Any thread may call this."""
        return [instance for instance in list(self.instances.values()) if not instance.ended]

    # ----------------------------------------------------------------------------------------------------------------

    def _look(self, connection: BaseDatabaseWrapper, now: float) -> float:
        mine = {name: each for name, each in declared().items() if self.serves(each.options.queue)}
        if not mine:
            return LOOK_EVERY
        found, workers = background_hosting.look(connection, [(name, self._place(each)) for name, each in mine.items()])
        has_new, is_blocked = self._declare(connection, mine, found)
        if has_new or self._leave_unknown(connection, found):
            return 0.0
        free = [
            seen
            for seen in found
            if not self._keep(seen)
            and seen.wanted
            and seen.host is None
            and now >= self._rest_until.get(seen.name, now)
        ]
        self._free_since = {seen.name: self._free_since.get(seen.name, now) for seen in free}
        of_site = sum(bool(seen.wanted) and seen.place == "" for seen in found)
        wait = self._take_all(connection, mine, free, -(-of_site // max(1, workers)), now)
        return min(wait, COURTESY) if is_blocked else wait

    def _release_left(self, connection: BaseDatabaseWrapper) -> None:
        """Release what may have got lost on its way to an instance that has left since."""
        if self._in_doubt:
            self._in_doubt = False
            ids = inbox.release_left(connection, self.parts.registration.id, list(self.instances))
            background.call_for(connection, ids)

    def _pass_on_calls(self, connection: BaseDatabaseWrapper) -> None:
        while self._calls:
            background.call_hosts(connection, self._calls.pop())

    def _declare(
        self, connection: BaseDatabaseWrapper, mine: Mapping[str, BackgroundWorker], found: Sequence[Seen]
    ) -> tuple[bool, bool]:
        """Declare what is not in the table yet, was not declared for long, or is to start with the site since lately.

        :returns: whether there is anything new, and whether some could not be declared, since others are about to.
        """
        declared = {seen.name: mine[seen.name].declared() for seen in found}
        new = [declared[seen.name] for seen in found if seen.wanted is None]
        starting = [
            declared[seen.name]
            for seen in found
            if seen.wanted is False and not seen.decided and declared[seen.name].autostart
        ]
        old = [declared[seen.name] for seen in found if seen.wanted is not None and seen.is_stale]
        begun = background_hosting.declare(connection, new, new=True) if new else 0
        started = background_hosting.declare(connection, starting, new=False) if starting else 0
        if old:
            background_hosting.declare(connection, old, new=False)
        return begun + started > 0, begun + started < len(new) + len(starting)

    def _leave_unknown(self, connection: BaseDatabaseWrapper, found: Sequence[Seen]) -> bool:
        """Give up what this worker has taken without knowing it: the answer was lost. Return whether there was any."""
        unknown = [
            background_hosting.Grant(seen.name, seen.place, seen.fence, seen.start_id, None)
            for seen in found
            if seen.host == self.parts.registration.id
            and seen.name not in self.instances
            and seen.fence is not None
            and seen.start_id is not None
        ]
        for grant in unknown:
            background_hosting.leave(connection, grant, for_good=False)
        return bool(unknown)

    def _keep(self, seen: Seen) -> bool:
        """Go on with an instance, or ask it to end; return False if there is none."""
        instance = self.instances.get(seen.name)
        if instance is None:
            return False
        grant = instance.grant
        is_mine = seen.host == self.parts.registration.id and (seen.place, seen.fence) == (grant.place, grant.fence)
        if not is_mine or not seen.wanted or seen.start_id != grant.start_id:
            instance.ask()
        elif seen.waits:
            instance.wake()
        return True

    def _take_all(
        self,
        connection: BaseDatabaseWrapper,
        mine: Mapping[str, BackgroundWorker],
        free: Sequence[Seen],
        share: int,
        now: float,
    ) -> float:
        """Take what is free: up to the share of this worker at once, the rest if no other worker does.

        :returns: the seconds until the next look.
        """
        if not self.parts.registration.is_fresh():
            return COURTESY if free else LOOK_EVERY
        wait = LOOK_EVERY
        for seen in sorted(free, key=lambda seen: (-mine[seen.name].options.priority, seen.name)):
            if self._threads() + mine[seen.name].options.concurrency > settings.BACKGROUND_THREADS:
                self._complain([seen.name for seen in free if seen.name not in self.instances], now)
                return wait
            hosted = sum(each.grant.place == "" for each in self.instances.values())
            if seen.place == "" and hosted >= share and now - self._free_since[seen.name] < COURTESY:
                wait = min(wait, COURTESY / 2)
            elif self._take(connection, mine[seen.name], seen):
                # A caller that has put something meanwhile did not know which worker to notify.
                wait = background.LOOK_AGAIN
            else:
                wait = min(wait, COURTESY)
        return wait

    def _take(self, connection: BaseDatabaseWrapper, worker: BackgroundWorker, seen: Seen) -> bool:
        grant = background_hosting.take(connection, seen, self.parts.registration.id)
        if grant is None:
            return False
        try:
            here = worker.here(grant.setup, grant.start_id)
            instance = Instance(worker, grant, here, self.parts, loops.OF_KIND[worker.kind])
            instance.start()
        except Exception:
            # Other workers may know the class of an argument, or have threads left.
            self._rest_until[worker.name] = time.monotonic() + REST
            logger.exception("The background worker %s cannot be started here; another try follows", worker.name)
            background_hosting.leave(connection, grant, for_good=False)
            return False
        self.instances[worker.name] = instance
        if self.stopping:
            instance.ask()  # ask_all() came before it was there.
        if seen.waits:
            instance.wake()
        logger.info("The background worker %s runs here", worker.name)
        return True

    def _complain(self, names: Sequence[str], now: float) -> None:
        if now - self._said_at >= SAY_EVERY:
            self._said_at = now
            logger.warning(
                "This worker has as many threads for background workers as AUTOTASK_BACKGROUND_THREADS allows (%d); others "
                "are left to other workers: %s",
                settings.BACKGROUND_THREADS,
                ", ".join(names),
            )

    def _bury_ended(self, connection: BaseDatabaseWrapper) -> None:
        """Give up the instances whose threads have ended, so that others can take them."""
        for name, instance in list(self.instances.items()):
            if not instance.ended:
                continue
            self._write_down(connection)
            instance.handed.close()
            if instance.worker.kind in MESSAGED:
                inbox.release_all(connection, instance.address)  # none, unless its loop has failed
            if instance.here.is_over:
                background_hosting.end(connection, instance.grant, "its function has returned False")
            background_hosting.leave(connection, instance.grant, for_good=self._is_of_process(instance))
            del self.instances[name]
            background.tell(connection)
            logger.info("The background worker %s has stopped here", name)

    def _threads(self) -> int:
        return sum(len(instance.lanes) for instance in self.instances.values())

    def _has_news(self) -> bool:
        return any(instance.here.tally.runs for instance in self.instances.values())

    def _write_down(self, connection: BaseDatabaseWrapper) -> None:
        taken = [(instance, news) for instance in self.instances.values() if (news := instance.news()) is not None]
        if not taken:
            return
        self._note_at = time.monotonic() + NOTE_EVERY
        try:
            background_hosting.note(connection, [news for _, news in taken])
        except BaseException:
            for instance, news in taken:
                instance.here.tally.give_back(news.runs, news.errors, news.error)
            raise

    def _place(self, worker: BackgroundWorker) -> str:
        if worker.options.per == SITE:
            return ""
        identity = self.parts.registration.identity
        return f"{identity.host} {identity.boot_id}" if worker.options.per == HOST else _of_process(identity.id)

    def _is_of_process(self, instance: Instance) -> bool:
        return instance.grant.place == _of_process(instance.address.worker_id)


def _of_process(id: uuid.UUID) -> str:
    return id.hex
