"""Every exception autotask raises or understands, under one root; the docstring is the message."""

import inspect
from typing import Any, Self


class AutotaskError(Exception):
    """Something in autotask went wrong."""

    def __init__(self, **facts: Any) -> None:
        self.facts = facts
        self.__dict__.update(facts)
        super().__init__(self._message(facts))

    def within(self, place: str) -> Self:
        """Return the same error with a message that begins with the place of the error."""
        return type(self)(**{**self.facts, "place": place})

    @classmethod
    def _message(cls, facts: dict[str, Any]) -> str:
        # Without docstrings (python -OO), the facts have to do.
        template = " ".join(inspect.cleandoc(cls.__doc__ or "").split()) or cls.__name__ + ": {facts}"
        if not facts.get("name", True):
            template = template.replace(" ({name})", "")  # as for a handle that was made of an id
        message = template.format(facts=facts, **facts)
        return f"{facts['place']}: {message}" if "place" in facts else message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.facts)


def _rebuild(cls: type[AutotaskError], facts: dict[str, Any]) -> AutotaskError:
    return cls(**facts)


# --- in the code of a project ---------------------------------------------------------------------------------------


class UnknownOption(AutotaskError, TypeError):
    """{where} got an unknown option {option!r}{suggestion}. It knows: {known}."""


class InvalidOption(AutotaskError, ValueError):
    """The option {option!r} of {where} must be {expected}, but is {value!r}."""


class InvalidOptionType(AutotaskError, TypeError):
    """The option {option!r} of {where} must be {expected}, but is {value!r} (of type {type})."""


class ConflictingOptions(AutotaskError, TypeError):
    """{where} got both {first!r} and {second!r}: give one of them."""


class OptionWithoutEffect(AutotaskError, TypeError):
    """{where} got the option {option!r}, which has no effect without {needed!r}: give that, too, or remove {option!r}."""


class InvalidSchedule(AutotaskError, ValueError):
    """{expression!r} is not a valid schedule: {problem}."""


class UnsuitableFunction(AutotaskError, TypeError):
    """{function} cannot be a task: {problem}. {advice}"""


class UnpicklableArgument(AutotaskError, TypeError):
    """The argument {path} of {task} cannot be pickled: {reason}. Pass a value that can be pickled (an id, a number, text,
    a list or dict of these), and look up the rest inside the task. Nothing was enqueued."""


class UnsuitableArgument(UnpicklableArgument):
    """The argument {path} of {task} is {what}. {advice} Nothing was enqueued."""


class UnsuitableKey(AutotaskError, TypeError):
    """The option {option!r} of {task} has a key that cannot be made of {what}. {advice} Nothing was enqueued."""


class UnsuitableTaskId(UnsuitableKey):
    """get_task_id() of {task} must return 1 to {longest} printable characters, but returned {value!r}. Nothing was
    enqueued."""


class AlreadyEnqueued(AutotaskError):
    """{name} was not enqueued: the task {id} is there already, with the unique key {key}."""


class ContextNotCarried(AutotaskError):
    """The carrier {path} of AUTOTASK_CONTEXT failed at a call of {task}: {reason}. Its carry() must return None or a value
    that JSON can hold. Nothing was enqueued."""


class InvalidArguments(AutotaskError, TypeError):
    """Item {index} of {task}.enqueue_many() must be a tuple of positional or a dict of keyword arguments,
    but is {value!r}. Nothing was enqueued."""


class SchemaMismatch(InvalidArguments):
    """The arguments of {task} do not fit: {problem}. Nothing was enqueued."""

    #: Each with ``path`` (such as ``rows[0].price``; "" for the whole), ``rule`` (the keyword of the schema) and ``message``.
    errors: list[dict[str, str]]


class PayloadTooLarge(AutotaskError, ValueError):
    """The {what} of {task} take {size} bytes when pickled, more than the limit of {limit} bytes
    (AUTOTASK_MAX_PAYLOAD). Store large data elsewhere and pass a reference to it."""


class UnpicklableResult(AutotaskError, TypeError):
    """The result of {task} cannot be pickled: {reason}. The function has run; return a value that can be pickled, or
    None."""


class NothingRan(AutotaskError, TypeError):
    """{task} returned {what}, which did not run: if a decorator hides that the task is a coroutine or generator function,
    nothing of it ran. Make the decorator await or run the object that the function returns."""


class TransactionLeftOpen(AutotaskError, RuntimeError):
    """The function has run, but left a transaction or a statement unfinished on the database {databases}, so its changes
    there are lost. Commit each transaction, best with transaction.atomic(), and read all rows of each statement."""


class NotReferable(AutotaskError, TypeError):
    """It is {what}. {advice}"""


# --- from the database ----------------------------------------------------------------------------------------------


class PayloadRefused(AutotaskError):
    """The payload of task {id} was not unpickled: {reason}."""


class PayloadTooNew(PayloadRefused):
    """The payload of task {id} was not unpickled: {reason}."""


class NotAllowed(AutotaskError):
    """{module}.{name} is not unpickled: {reason}."""


class ObjectGone(AutotaskError, LookupError):
    """The {model} with the primary key {pk!r} is not in the database {database!r}{others}."""


class OtherSchema(AutotaskError):
    """The {model} with the primary key {pk!r} belongs to the schema {schema!r}, but the connection {database!r} is in the
    schema {current!r}. Tasks run in the schema of their call if AUTOTASK_CONTEXT has "autotask.carriers.TenantSchema";
    read results inside schema_context()."""


class UnknownCarrier(AutotaskError, LookupError):
    """The call carried a value of {path}, which this code cannot restore: {reason}."""


class UnknownTask(AutotaskError, LookupError):
    """No task named {name!r} is known here{suggestion}. Tasks are found in the "tasks" modules of INSTALLED_APPS, in
    AUTOTASK_MODULES, and in the module that their name begins with. If it is in another module, add that to
    AUTOTASK_MODULES."""


class UnknownTaskId(UnknownTask):
    """{task} has no task with the id {task_id!r}: it was never run, or its result was pruned."""


class TaskNotFound(AutotaskError, LookupError):
    """Task {id} ({name}) has never existed: no call returns such an id, so it is the id of something else."""


class TaskExpired(TaskNotFound):
    """Task {id} ({name}) is not in the database: its result was pruned after its time to live, or the transaction
    that enqueued it was rolled back or is not committed yet, or it was cancelled before that was committed."""


class RowWithoutTask(TaskExpired):
    """The row {name} has no task: it is not saved yet, was loaded from a fixture, or was made as done."""


class ResultExpired(TaskExpired):
    """The result of task {id} ({name}) is no longer in the database: it was pruned after its time to live. The task
    ended as {how}."""

    #: DONE, ERROR or CANCELLED, as ``handle.status`` said.
    status: str = ""


class TaskFailed(AutotaskError):
    """Task {id} ({name}) ended in an error: {error_message}"""

    #: Module and name of the class of the exception, such as ``shop.errors.OutOfStock``; "" if no exception was recorded.
    error_type: str = ""
    #: The traceback of the last attempt, which is a note of this exception, too; "" if there is none.
    traceback: str = ""

    def __init__(self, **facts: Any) -> None:
        super().__init__(**facts)
        if self.traceback:
            self.add_note(f"In the worker:\n{self.traceback.rstrip()}")


class TaskCancelled(AutotaskError):
    """Task {id} ({name}) was cancelled{reason}."""


class WaitTimeout(AutotaskError, TimeoutError):
    """Task {id} ({name}) had not ended after {seconds:g} seconds; it is {status}.{reason}"""


class WaitInTransaction(AutotaskError, RuntimeError):
    """wait() was called for task {id} ({name}) inside a transaction. The task becomes visible to workers only when
    that transaction commits, so waiting here could never end. Call wait() after the atomic block.{hint}"""


class WorkerLost(AutotaskError):
    """The worker that ran the task died, or sent no more heartbeats: {reason}"""


class RunInTransaction(AutotaskError, RuntimeError):
    """Tasks cannot run inside an atomic block of the test: workers see tasks that are enqueued in it only when it commits.
    Run them after the atomic block; a worker process needs a TransactionTestCase."""


class EndlessTasks(AutotaskError, RuntimeError):
    """A test ran {count} attempts of tasks, and there are still more to run. The last ones were of {names}: do these tasks
    enqueue themselves, or wait for something that never happens?"""


class NoSettingsModule(AutotaskError):
    """A worker process for a test takes its settings from the module that DJANGO_SETTINGS_MODULE names; the settings of
    this process come from no module."""


class WorkerDidNotStart(AutotaskError):
    """The worker process of a test did not start. Its output: {output}"""


class NotRetryable(AutotaskError):
    """Task {id} cannot be retried: {reason}."""


class CannotStopHere(AutotaskError, RuntimeError):
    """stop() of the background worker {name} cannot wait inside a transaction: the stop takes effect only when that
    transaction commits. Call it after the atomic block, or with wait=False. Nothing was stopped."""


class NotOfThisKind(AutotaskError, AttributeError):
    """The background worker {worker} has no {act}(): it is of the kind {kind}. {advice}"""


class ExecutorUnknown(AutotaskError):
    """There is no executor {name!r} in AUTOTASK_EXECUTORS (there are: {known})."""


class RunFailedElsewhere(AutotaskError):
    """The run failed in another process, and its exception cannot be pickled: {shown}"""


class NoticeNotSent(AutotaskError):
    """Not all recipients could be notified of the end of task {id} ({name}): {failures}"""


class WebhookRefused(AutotaskError):
    """The answer had the status {status}, which is not a success. (Redirects are not followed.)"""


class InvalidPause(AutotaskError, ValueError):
    """Nothing was paused or resumed: {problem}."""


class ClaimOver(AutotaskError, RuntimeError):
    """The value of a step of {name} {id} was not stored: the task no longer belongs to this worker. It was given to
    another worker, cancelled or deleted since then."""


class StepRepeated(AutotaskError, ValueError):
    """This attempt of {task} already had a step {name!r}. Give each step a name of its own; in a loop, add an id to the
    name."""


# --- rows of model tasks --------------------------------------------------------------------------------------------


class HandlerMissing(AutotaskError, AttributeError):
    """{model} has no method {handler}(self, payload) for its step {step}."""


class NotJSON(AutotaskError, TypeError):
    """The value that a step of {model} returned cannot be stored as JSON: {reason}."""


class OtherDatabase(AutotaskError):
    """A row of {model} cannot be saved in the database {alias!r}: tasks are in {expected!r} (AUTOTASK_DATABASE), and a row
    and its task must be in the same database. Nothing was saved."""


class TenantRow(AutotaskError):
    """A row of {model} belongs to the schema {schema!r} of a tenant; rows of tenants cannot be tasks. Call a task function with
    the row instead. Nothing was saved."""


class RemoteWithExpiry(AutotaskError, TypeError):
    """{model} has the option 'expires', which has no effect on tasks that a client from outside starts. Remove it."""


class RowBusy(AutotaskError, RuntimeError):
    """{row} is running. Cancel its task first, and try again when it has stopped."""


class InvalidKey(AutotaskError, ValueError):
    """The API key was not created: {problem}."""


# --- raised in a task function from outside -------------------------------------------------------------------------


class TaskInterrupted(BaseException):
    """Raised in a task function that has to stop: the root of the three below.

    It is not an ``Exception``, so ``except Exception`` lets it pass. Catch it to clean up, then raise it again: whatever
    the function raises from then on counts as the interruption, but a value that it returns is its result.
    """


class TimeLimitExceeded(TaskInterrupted):
    """The attempt has taken longer than its ``timeout``."""


class CancelRequested(TaskInterrupted):
    """The task should be cancelled."""


class WorkerStopping(TaskInterrupted):
    """The worker has to stop, and its grace period is over; another worker will run the task."""


# --- requests to other sites ----------------------------------------------------------------------------------------


class FetchRefused(AutotaskError):
    """{origin} was not requested: {reason}."""


class FetchFailed(AutotaskError):
    """The request to {origin} failed: {reason}."""


# --- settings and databases -----------------------------------------------------------------------------------------


class ExtraMissing(AutotaskError, ImportError):
    """{what} needs a package that is not installed ({package}). Run: pip install "autotask[{extra}]"."""


class InvalidSetting(AutotaskError, ValueError):
    """{name} must be {expected}, but is {value!r}."""


class AddressesMissing(AutotaskError):
    """{what} needs addresses that the site does not have. Add to its urlpatterns: {line}"""


class NotPostgreSQL(AutotaskError):
    """autotask needs PostgreSQL, but the database {alias!r} uses {engine}."""


class TablesMissing(AutotaskError):
    """The tables of autotask are not in the database {alias!r} yet, or lack columns. Run: {command}"""
