"""Answer the threads that have handed tasks to this worker, once the ends of these are in the database."""

from collections.abc import Collection, Sequence

from autotask import answers
from autotask.store.finish import Outcome
from autotask.store.told import answer_of_result, answer_of_step
from autotask.task import State
from autotask.worker.outcome import Advanced
from autotask.worker.writes import Record


def answer(records: Sequence[Record], refused: Collection[Record] = ()) -> None:
    """Answer those that wait for one of these records."""
    for record in records:
        task, _ = record
        if task.reply:
            answers.send(task.reply, task.fence, b"" if record in refused else _words(record))


def _words(record: Record) -> bytes:
    """Return the answer for the thread; empty: it has to look."""
    _, ended = record
    if isinstance(ended, Advanced):
        return answer_of_step(ended.step.number, ended.step.value)
    if isinstance(ended, Outcome) and ended.state is State.DONE:
        return answer_of_result(ended.value)
    return b""
