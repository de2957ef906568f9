"""Notifications to the loop while it works and while it sleeps."""

import logging
import time
import uuid
from collections.abc import Callable, Iterable

from django.db import DatabaseError, InterfaceError, OperationalError

from autotask import handover, lines
from autotask.processes.lookouts import Call, Lookouts, Word
from autotask.store import addressee, notify
from autotask.store.connection import dedicated
from autotask.store.errors import is_locked, is_program_limit
from autotask.store.listening import Listening
from autotask.wakeup import Wakeup
from autotask.worker.resting import Rest

logger = logging.getLogger("autotask.worker")

#: Seconds after which a worker whose former session still counts as alive tries again to have the current one do so.
TRY_AGAIN = 30.0


class News:
    """Whether something was enqueued since the last look for lanes. Only the loop calls this.

    :param wakeup: with it, any other thread or process wakes the loop.
    :param worker_id: returns the current id of the worker.
    :param beat: has the worker beat at once, which also shows it the requests to cancel its tasks.
    :param rescheduled: called when schedules or pauses have changed.
    :param rest: whether it leaves it to others to listen, and is called by them.
    :ivar connection: the loop's own, and the only one of the worker that listens: each NOTIFY in the database wakes the server
        processes of all connections that do, whatever they listen on.
    :ivar was_told: whether a caller has notified this worker only, since the last look, because it was idle.
    :ivar was_told_of_one: whether all that listen were notified of a single task, and this worker has to pass it on to one that rests
        if it has no room.
    """

    def __init__(
        self,
        wakeup: Wakeup,
        worker_id: Callable[[], uuid.UUID],
        beat: Callable[[], None],
        rescheduled: Callable[[], None],
        rest: Rest,
    ) -> None:
        self.connection = dedicated("claim")
        self._wakeup = wakeup
        self._worker_id = worker_id
        self._beat = beat
        self._rescheduled = rescheduled
        self._rest = rest
        self._listening = Listening(self.connection, self._channels)
        #: Whether NOTIFY has said so.
        self._notified = False
        self.was_told = False
        self.was_told_of_one = False
        #: When the last look for work began, and when schedules were looked at because of a call, on the monotonic clock.
        self._looked_at = self._rescheduled_at = float("-inf")
        #: When to try again to be alive with this connection, on the monotonic clock.
        self._be_alive_at = float("inf")

    @property
    def hears(self) -> bool:
        """Whether notifications arrive."""
        return bool(self._listening.hears) and self.connection.is_open

    @property
    def can_be_told(self) -> bool:
        """Whether callers may choose this worker."""
        return self.hears and not self._rest.is_coming

    def listen(self) -> None:
        """Listen on a new connection once it is known that notifications arrive there. Otherwise the loop polls."""
        if self._rest.is_on and not self._rest.is_over:
            return
        has_changed = self._listening.renew()
        if not self._listening.hears:
            self._rest.leave_post()
        if not has_changed:
            if self._listening.hears and time.monotonic() >= self._be_alive_at:
                self._be_alive()
            return
        if self._rest.is_on:
            self._rise()
        if self._listening.hears:
            self._be_alive()
            self._beat()  # Others may hand it tasks from now on.
        if self.connection.pooled:
            logger.info(
                "The database is reached through a pooler %s",
                "that keeps sessions, so LISTEN works: listening for work"
                if self._listening.hears
                else "that shares sessions, so LISTEN does not work: looking for work by polling",
            )

    def _be_alive(self) -> None:
        self._be_alive_at = float("inf")
        if not addressee.be_alive(self.connection.wrapper, self._worker_id()):
            self._be_alive_at = time.monotonic() + TRY_AGAIN

    def sleep(self, seconds: float) -> bool:
        """Sleep, and return whether the loop was woken."""
        if self._look() or self._wakeup.handed:
            return True  # It came with the answer to an earlier statement, or during another look.
        if self._rest.is_on:
            return self._sleep_at_rest(seconds)
        woken = self._wakeup.sleep(seconds, self._listening.fileno())
        self._look()
        return woken

    def yield_lock(self, seconds: float) -> None:
        """Leave Python's lock to other threads, until there is something to read: the next sleep reads it."""
        self._wakeup.wait(seconds, self._listening.fileno() if self.hears else None)

    def has_come(self) -> bool:
        """Read the notifications, and return whether something was enqueued since the last look."""
        self._wakeup.sleep(0)
        self._look()
        return self.has_word()

    def has_word(self) -> bool:
        """Whether something was enqueued since the last look, as far as is known."""
        return self._notified or self.was_called()

    def take_word(self) -> bool:
        """Begin a look; return whether a caller has notified this worker only."""
        called = self.was_called()
        if self.has_word():
            self._rest.is_coming = self._rest.is_on
        self._wakeup.called = self.was_told = self._notified = self.was_told_of_one = False
        self._looked_at = time.monotonic()
        return called

    def pass_on(self) -> None:
        """Notify other workers that there is work."""
        notify.send(self.connection.wrapper)

    def was_called(self) -> bool:
        """Whether a caller has notified this worker only, since the last look."""
        return self._wakeup.called or self.was_told

    def pass_on_call(self) -> None:
        """Notify other workers of a call that only this one knows of; this one has yet to look, too."""
        self._wakeup.called, self.was_told, self._notified = False, False, True
        self.pass_on()

    def pass_on_one(self) -> None:
        """Call one worker that rests: there is a task for which this one has no room."""
        self.was_told_of_one = False
        self._call(Word.ONE)

    def be_handed_nothing(self) -> None:
        """Before the worker stops: let callers hand tasks to others from now on, and receive those that have come."""
        self._take_calls(self._rest.leave())
        if not self.hears:
            return
        try:
            id = self._worker_id()
            addressee.be_handed_nothing(self.connection.wrapper, id, lines.current().channel(id))
            self._look()
        except (DatabaseError, InterfaceError, OSError):
            self.connection.close()

    def lose(self) -> None:
        """Give up the connection after a failure. Until there is another one, somebody else has to listen for those that rest."""
        self._rest.leave_post()
        self.connection.close()

    def hear_all(self) -> None:
        """Hear all that was said before this."""
        if self.hears:
            connection, own = self.connection.wrapper, lines.current().channel(self._worker_id())
            notify.tell_or_not(
                connection, lambda telling: addressee.notify_itself(connection, own) if telling else None
            )
            self._look()

    def hear_last(self) -> None:
        """While the worker stops: hear requests to cancel, and pass on calls. If the database is away, it does neither."""
        if not self.connection.is_open:
            return
        try:
            self._listening.renew()
            self._look()
            if self.was_called():
                self.pass_on_call()
        except (DatabaseError, InterfaceError, OSError):
            self.connection.close()

    def _channels(self) -> tuple[str, ...]:
        id = self._worker_id()
        own = notify.worker_channel(id), addressee.idle_channel(id), lines.current().channel(id)
        return notify.WORK_CHANNEL, notify.SCHEDULES_CHANNEL, *own

    # --- resting ----------------------------------------------------------------------------------------------------

    def rest(self) -> None:
        """Be a lookout or rest, after a long sleep."""
        rest = self._rest
        if not (rest.is_on or (self.hears and rest.may() and not rest.held)):
            return
        if (lookouts := rest.meet(self.connection.wrapper)) is None:
            return
        try:
            if rest.is_on:
                lookouts.rest()
            elif lookouts.take_post():
                rest.is_coming = False
            elif rest.may_begin():
                self._lie_down(lookouts)
            else:
                self._beat()
        except OSError as error:
            logger.debug("This worker cannot be called by others, and listens: %s", error)
            was_on = rest.is_on
            self._take_calls(rest.give_up())
            if was_on:
                self._rise()

    def _lie_down(self, lookouts: Lookouts) -> None:
        # In this order: what comes after the last look here was told after the lookouts could see this worker.
        lookouts.rest()
        connection, id = self.connection.wrapper, self._worker_id()
        try:
            addressee.be_handed_nothing(connection, id, lines.current().channel(id))
        except OperationalError as error:
            if not (is_locked(error) or is_program_limit(error)):
                raise
            # A call that has chosen this worker takes long, or the queue of notifications is full: then it has the lock.
            self._take_calls(self._rest.end())
            if is_program_limit(error):
                addressee.be_handed_again(connection, id)
            return
        self._look()
        if self.has_word() or self._wakeup.handed:
            self._rise()
            return
        self._listening.stop()
        self._rest.is_on = True

    def _rise(self) -> None:
        self._take_calls(self._rest.end())
        # Lookouts may have died, and been missed for a moment.
        self._notified = True
        if self._rest.keeps_watch:
            self._rescheduled()
        addressee.be_handed_again(self.connection.wrapper, self._worker_id())

    def _sleep_at_rest(self, seconds: float) -> bool:
        lookouts = self._rest.lookouts
        called = lookouts.fileno() if lookouts else None
        ready = self._wakeup.wait(seconds, called)
        self._wakeup.sleep(0)
        self._look()
        return bool(ready - {called}) or self.has_word()

    def _hear_lookouts(self) -> bool:
        self._take_calls(self._rest.lookouts.heard() if self._rest.lookouts else ())
        return self.has_word()

    def _take_calls(self, calls: Iterable[Call]) -> None:
        for word, at in calls:
            if word is Word.SCHEDULES and at > self._rescheduled_at:
                self._rescheduled_at = time.monotonic()
                self._rescheduled()
            elif word is Word.WORK and at > self._looked_at:
                self._notified = True
            elif word is Word.ONE and at > self._looked_at:
                self.was_told = True

    def _call(self, word: Word) -> None:
        if self._rest.lookouts is not None and self._rest.keeps_watch:
            self._rest.lookouts.call(word, time.monotonic(), one=word is Word.ONE)

    def _look(self) -> bool:
        if self._rest.is_on:
            return self._hear_lookouts()
        heard = self._listening.heard()
        for channel, words in heard:
            if channel == notify.WORK_CHANNEL:
                self._notified = True
                if words == addressee.ONE:
                    self.was_told_of_one = self._rest.keeps_watch
                else:
                    self._call(Word.WORK)
            elif channel == notify.SCHEDULES_CHANNEL:
                self._call(Word.SCHEDULES)
                self._rescheduled()
            elif channel.startswith(addressee.IDLE):
                self.was_told = True
            elif channel.startswith(lines.LINE):
                if words:  # The worker itself says nothing there.
                    self._wakeup.handed.append(handover.as_told(channel, words))
            else:
                self._beat()  # Somebody has asked to cancel a task.
        return bool(heard)
