"""The errors of the API, with the codes and texts that clients of django-simpletask2 know."""


class Problem(Exception):
    """An answer without success.

    :ivar code: the number by which clients know it.
    """

    code = 2910000
    template = "system error."

    def __init__(self, **facts: object) -> None:
        self.message = self.template.format(**facts)
        super().__init__(self.message)


class NoSuchAddress(Problem):
    """Something below the include that is none of its addresses."""

    template = "there is no such address here."


class BadRequest(Problem):
    """The body is no JSON object, or has values of the wrong kind."""

    code = 2910001
    template = "please send request parameters in PAYLOAD format."


class KeyMissing(Problem):
    """There is no key."""

    code = 2910002
    template = "`aclkey` field is required."


class KeyWrong(Problem):
    """The key is wrong, or has not the scope."""

    code = 2910003
    template = "aclkey is wrong and access denied."


class RowGone(Problem):
    """There is no row with that key, or its task is no longer in the database."""

    code = 2910004
    template = "got an already deleted task {task_info}, you may ignore this and continue."


class BadTaskInfo(Problem):
    """It is not ``app.model:key``."""

    code = 2910005
    template = "bad formatted task_info: {task_info}."


class NoSuchModel(Problem):
    """There is no such model, or its rows are no tasks."""

    code = 2910006
    template = "simple task model {task_class_name} not exists."


class NoHandler(Problem):
    """The model has no method for the step; the row has ended in an error."""

    code = 2910007
    template = "task handler is not implemented, task={model}, handler={handler}."


class WrongStep(Problem):
    """The row does not wait for that step; nothing has changed."""

    code = 2910008
    template = "task {task_info} status is not READY but {status}, you can NOT start it."


class StepOutOfTurn(WrongStep):
    """The row waits for another step; nothing has changed."""

    template = "task {task_info} waits for step {expected} and not for step {step}, you can NOT start it."


class HandlerFailed(Problem):
    """The handler has raised, or what it returned cannot be kept; the row has ended in an error."""

    code = 2910009
    template = "task {task_info} calling {handler} failed with error message: {error}."


class TaskInfoMissing(Problem):
    """There is no ``task_info``."""

    code = 2910011
    template = "`task_info` field is required."


class Locked(Problem):
    """A worker runs the step, and ends it even if nobody waits."""

    code = 2910013
    template = "task {task_info} locked by another worker."


class AlreadyDone(Problem):
    """The row is done."""

    code = 2910015
    template = "task {task_info} already done, to do NOTHING."
