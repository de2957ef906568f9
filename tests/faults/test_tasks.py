"""Tasks that misbehave, were tampered with, or are unknown to their worker (faults 41 to 45 and 47)."""

import pickle
import time
import uuid
import zlib
from dataclasses import replace
from itertools import pairwise

import psutil
import pytest

from autotask import payload, seals, signing
from autotask.envelopes import BODY
from autotask.exceptions import PayloadRefused
from autotask.payload import load_result
from autotask.store import cancel, enqueue, read
from autotask.store.connection import execute, rows
from autotask.task import State
from tests.acceptance import processes
from tests.faults.app import tasks
from tests.helpers import wait_until

ROOT = processes.__file__.partition("/tests/")[0]

NEWER = """
from autotask.tasks import delayed_task
from tests.faults.witness import current

@delayed_task(name="faults.newer", ttl=86400)
def newer({parameters}):
    return current().fence
"""


def deployed(world, name, parameters=""):
    """Return the environment of a worker whose code has one more task, with these parameters."""
    app = world.folder / name
    app.mkdir(exist_ok=True)
    (app / "__init__.py").touch()
    (app / "tasks.py").write_text(NEWER.format(parameters=parameters))
    return {"FAULTS_APPS": name, "PYTHONPATH": f"{world.folder}:{ROOT}"}


def put(world, new):
    enqueue.insert(world.database, new)
    world.ledger.write("enqueued", id=new.id)
    return str(new.id)


def renamed(task, name, **changes):
    """Return a call of a task under another name."""
    new = task.new_call((), {})
    signed = payload.dump_arguments((), {}, id=new.id, name=name)
    return new._replace(kind=replace(new.kind, name=name), **{"payload": signed, **changes})


@pytest.mark.fault(41, quick=True)
def test_an_unknown_task_is_left_for_a_newer_worker(world, figures):
    # Given
    world.worker()
    id = put(world, renamed(tasks.note, "faults.newer"))
    wait_until(lambda: world.task(id).state is State.SCHEDULED, what="the return of the task")

    # When
    newer = world.worker(**deployed(world, "newer"))
    began = time.monotonic()

    # Then
    task = world.wait_for(id)
    # An older worker may just have released it for a moment.
    figures.at_most("done after the newer worker and", time.monotonic() - began, 2.0, "s")
    assert (task.attempt, task.failures) == (1, 0)
    assert {event.pid for event in world.events("start", id)} == {newer.pid}
    assert world.check().violations == []


@pytest.mark.fault(41, quick=True)
def test_a_payload_of_a_newer_form_is_left_for_a_newer_worker(world):
    # Given
    new = tasks.note.new_call((), {})
    id = put(world, renamed(tasks.note, new.kind.name, payload=b"AT\x02" + new.payload[3:]))

    # When
    world.worker()

    # Then
    wait_until(lambda: (t := world.task(id)).state is State.SCHEDULED and t.attempt == 0, what="the return of the task")
    assert world.events("start") == []


@pytest.mark.fault(41, quick=True)
def test_a_call_with_newer_arguments_is_left_for_a_newer_worker(world, figures):
    # Given: two workers whose code does not accept them
    new = renamed(tasks.note, "faults.newer")
    signed = payload.dump_arguments((), {"newer": True}, id=new.id, name="faults.newer")
    id = put(world, new._replace(payload=signed))
    older = [world.worker(**deployed(world, "older")) for _ in range(2)]
    wait_until(lambda: world.task(id).state is State.SCHEDULED and world.task(id).attempt == 0, what="its return")

    # When
    newer = world.worker(**deployed(world, "newer", "newer: bool = False"))
    began = time.monotonic()

    # Then
    task = world.wait_for(id)
    figures.at_most("done after the newer worker and", time.monotonic() - began, 2.0, "s")
    assert (task.attempt, task.failures, task.lost) == (1, 0, 0)
    ends = world.events("end", id)
    assert [event.pid for event in ends if event.facts["state"] == "DONE"] == [newer.pid]
    figures.at_most("tries of older workers", len(ends) - 1, 2 * 5)
    assert all("is left for a newer worker" in worker.output() for worker in older)


def _flip(envelope):
    return envelope[:-1] + bytes([envelope[-1] ^ 1])


def _with_body(envelope, body):
    return envelope[: BODY.start] + body


def _signed_by_somebody_else(envelope):
    key = signing.key_of("another key")._replace(id=b"1234")
    return envelope[:5] + key.id + seals.mac_of(key, envelope[:5], b"", envelope[BODY]) + envelope[BODY]


TAMPERED = {
    "bit flipped": _flip,
    "signature flipped": lambda envelope: envelope[:10] + bytes([envelope[10] ^ 1]) + envelope[11:],
    "truncated": lambda envelope: envelope[:30],
    "empty": lambda envelope: b"",
    "bare pickle": lambda envelope: envelope[BODY],
    "ten megabytes": lambda envelope: envelope + bytes(10_000_000),
    "said to refer to instances": lambda envelope: envelope[:4] + b"\x01" + envelope[5:],
    "compressed bomb": lambda envelope: _with_body(envelope, zlib.compress(bytes(100_000_000))),
    "signed by somebody else": _signed_by_somebody_else,
}


def change(world, id, payload):
    execute(world.database, "UPDATE autotask_task SET payload = %(p)s WHERE id = %(id)s", {"p": payload, "id": id})


def tampered_with(world, song):
    """Return calls, by what was done to them, with an argument that sings when it is unpickled."""

    def call():
        return world.call(tasks.take, tasks.Canary(str(song)))

    def envelope(id):
        return bytes(rows(world.database, "SELECT payload FROM autotask_live WHERE id = %(id)s", {"id": id})[0][0])

    execute(world.database, "BEGIN")  # The worker sees what was done to them with the calls.
    ids = {how: call() for how in TAMPERED}
    for how, id in ids.items():
        change(world, id, TAMPERED[how](envelope(id)))
    ids["name swapped"] = call()
    swap = "UPDATE autotask_task SET name = %(name)s WHERE id = %(id)s"
    execute(world.database, swap, {"name": tasks.note.name, "id": ids["name swapped"]})
    ids["of another task"] = call()
    change(world, ids["of another task"], envelope(ids["name swapped"]))
    ids["a result"] = world.call(tasks.note)
    arguments = ((tasks.Canary(str(song)),), {})
    result = payload.dump_result(arguments, id=uuid.UUID(ids["a result"]), fence=1, name=tasks.note.name)
    change(world, ids["a result"], result)
    execute(world.database, "COMMIT")
    return ids


@pytest.mark.fault(42, quick=True)
def test_nothing_that_was_tampered_with_is_unpickled(world, figures):
    # Given: one thread. The driver and the allocator keep memory for the next large payload, for each thread
    worker = world.worker("--threads=1")
    song = world.folder / "song"
    sizes = []

    # When
    for _ in range(6):
        ended = {how: world.wait_for(id, state=State.ERROR) for how, id in tampered_with(world, song).items()}
        for id in world.call_many(tasks.note, [()] * 20):
            world.wait_for(id)
        sizes.append(psutil.Process(worker.pid).memory_info().rss)

    # Then
    figures.exactly("forms of tampering", len(ended), len(TAMPERED) + 3)
    figures.at_most("attempts of one", max(task.attempt for task in ended.values()), 1)
    assert all(task.error_message.startswith("PayloadRefused") for task in ended.values())
    figures.exactly("canaries unpickled", song.exists(), 0)
    # Ten, if one of ten megabytes were kept each time. On a busy machine the worker sometimes has several of them at once, and the
    # allocator keeps the memory for these: so the time with the least growth counts.
    growth = [after - before for before, after in pairwise(sizes[2:])]
    figures.at_most("memory kept at least, of the last three times", min(growth) / 2**20, 5, "MB")
    assert not worker.has_ended()


@pytest.mark.fault(42)
def test_payloads_that_are_far_too_large_do_not_fill_the_memory_one_after_the_other(world, figures):
    """The driver and the allocator keep memory for the next one: for each thread, but not for each task."""
    worker = psutil.Process(world.worker().pid)
    base, sizes = worker.memory_info().rss, []
    for _ in range(20):
        new = tasks.note.new_call((), {})
        world.wait_for(put(world, new._replace(payload=new.payload + bytes(10_000_000))), state=State.ERROR)
        sizes.append(worker.memory_info().rss)
    figures.record("memory kept after twenty times ten megabytes", (sizes[-1] - base) / 2**20, "MB")
    figures.at_most("of that, by the last five", (max(sizes[15:]) - max(sizes[:15])) / 2**20, 15, "MB")


@pytest.mark.fault(42, quick=True)
def test_a_payload_of_another_codec_is_finally_refused_and_not_unpickled(world):
    song = world.folder / "song"
    id = world.call(tasks.take, tasks.Canary(str(song)))
    execute(world.database, r"UPDATE autotask_task SET payload = set_byte(payload, 3, 77)")
    world.worker(options={"UNKNOWN_TASK_TIMEOUT": 0.5})
    assert "codec 77" in world.wait_for(id, state=State.ERROR).error_message
    assert not song.exists()


@pytest.mark.fault(42, quick=True)
def test_a_result_cannot_be_moved_to_another_task(world):
    world.worker()
    first, second = (world.wait_for(world.call(tasks.note)) for _ in range(2))
    with pytest.raises(PayloadRefused):
        load_result(first.value, id=second.id, fence=second.fence)
    with pytest.raises(PayloadRefused):
        load_result(first.value, id=first.id, fence=first.fence + 1)
    assert load_result(first.value, id=first.id, fence=first.fence) == first.fence


@pytest.mark.fault(42, quick=True)
def test_nothing_of_a_result_that_was_tampered_with_is_unpickled(world, figures):
    song = world.folder / "song"
    world.worker()
    done = world.wait_for(world.call(tasks.note))
    sings = payload.dump_result(tasks.Canary(str(song)), id=done.id, fence=done.fence, name=tasks.note.name)
    for tamper in TAMPERED.values():
        with pytest.raises(PayloadRefused):
            load_result(tamper(sings), id=done.id, fence=done.fence)
    figures.exactly("canaries unpickled from results", song.exists(), 0)
    load_result(sings, id=done.id, fence=done.fence)
    assert song.exists(), "otherwise this would prove nothing"


@pytest.mark.fault(43, quick=True)
def test_an_old_key_is_good_as_long_as_it_is_a_fallback(world, figures, settings):
    # Given: calls that were signed with the key A
    ids = world.call_many(tasks.note, [()] * 20)

    # When: workers sign with B and still accept A
    both = world.worker(FAULTS_SECRET_KEY="B", FAULTS_SECRET_KEY_FALLBACKS=f'["{settings.SECRET_KEY}"]')

    # Then
    figures.exactly("done with A as a fallback", len([world.wait_for(id) for id in ids]), 20)
    task = world.task(ids[0])
    with pytest.raises(PayloadRefused):
        world.value(task)  # it was signed with B, which this process does not have
    settings.SECRET_KEY_FALLBACKS = ["B"]
    assert world.value(task) == task.fence
    both.signal(15)
    both.wait(20)

    # When: A is gone
    id = world.call(tasks.note)
    world.worker(FAULTS_SECRET_KEY="B")

    # Then
    message = world.wait_for(id, state=State.ERROR).error_message
    assert "SECRET_KEY_FALLBACKS" in message and settings.SECRET_KEY not in message


@pytest.mark.fault(43, quick=True)
def test_after_everything_was_signed_again_nothing_fails_without_the_old_key(world, figures, settings):
    # Given: calls that were signed with the key A, one of them running
    settings.AUTOTASK_SIGNING_KEY = "A"
    old = world.worker("--queues=default", options={"SIGNING_KEY": "A"})
    running = world.call(tasks.wait_for, str(world.folder / "never"))
    world.wait_for_start(running)
    ids = [running, *world.call_many(tasks.note, [()] * 20, queue="later")]

    # When
    both = {"SIGNING_KEY": "B", "SIGNING_KEY_FALLBACKS": ["A"]}
    signed = world.start("-m", "django", "autotask", "resign", options=both)
    assert signed.wait(30) == 0, signed.output()
    world.kill(old.pid)
    (world.folder / "never").touch()
    world.worker(options={"SIGNING_KEY": "B"})

    # Then
    figures.exactly("done without the old key", len([world.wait_for(id) for id in ids]), 21)
    assert "21 payloads (21 arguments of live tasks) signed again." in signed.output()


MISBEHAVIOUR = {
    "unpicklable result": "UnpicklableResult",
    "unreducible result": "UnpicklableResult",
    "parting result": "SystemExit: 5",
    "large result": "PayloadTooLarge",
    "recursion": "RecursionError",
    "unshowable": "Unshowable: (its text cannot be shown",
    "unreducible": "Unreducible",
    "rude": "Rude: (its text cannot be shown",
    "SystemExit": "SystemExit: 3",
    "KeyboardInterrupt": "KeyboardInterrupt",
    "GeneratorExit": "GeneratorExit",
    "BaseException": "BaseException: bare",
    "surrogates": "ValueError: ",
}


@pytest.mark.fault(44, quick=True)
def test_whatever_a_task_returns_or_raises_its_outcome_is_recorded_and_the_worker_continues(world, figures):
    # Given
    worker = world.worker()

    # When
    ids = {how: world.call(tasks.misbehave, how) for how in MISBEHAVIOUR}

    # Then
    ended = {how: world.wait_for(id, state=State.ERROR) for how, id in ids.items()}
    wrong = {how: task.error_message for how, task in ended.items() if MISBEHAVIOUR[how] not in task.error_message}
    assert wrong == {}
    figures.exactly("outcomes recorded", len(ended), len(MISBEHAVIOUR))
    world.wait_for(world.call(tasks.note))
    assert not worker.has_ended() and {event.pid for event in world.events("start")} == {worker.pid}


@pytest.mark.fault(45, quick=True)
def test_a_row_that_is_deleted_while_it_runs_is_one_line_in_the_log(world, figures):
    # Given
    worker = world.worker()
    id = world.call(tasks.wait_for, str(world.folder / "go"))
    world.wait_for_start(id)

    # When
    execute(world.database, "DELETE FROM autotask_task WHERE id = %(id)s", {"id": id})
    (world.folder / "go").touch()

    # Then
    wait_until(lambda: world.events("refused", id), what="the refusal")
    world.wait_for(world.call(tasks.note))
    figures.exactly("log lines", worker.output().count("refused, the first one"), 1)
    assert world.task(id) is None and not worker.has_ended()


@pytest.mark.fault(45, quick=True)
def test_a_row_that_is_edited_while_it_runs_keeps_the_edit_and_the_outcome(world):
    worker = world.worker()
    id = world.call(tasks.wait_for, str(world.folder / "go"))
    world.wait_for_start(id)
    execute(world.database, "UPDATE autotask_task SET priority = 7, queue = 'other' WHERE id = %(id)s", {"id": id})
    (world.folder / "go").touch()
    task = world.wait_for(id)
    assert (task.priority, task.queue) == (7, "other")
    assert not worker.has_ended() and world.check().violations == []


@pytest.mark.fault(45, quick=True)
def test_a_task_that_is_cancelled_while_it_runs_has_one_outcome(world):
    worker = world.worker()
    ids = world.call_many(tasks.wait_for, [(str(world.folder / "go"),)] * 2)
    wait_until(lambda: len(world.events("start")) == 2, what="the start")
    assert cancel.cancel(world.database, world.task(ids[0]).id) is cancel.Cancellation.REQUESTED
    (world.folder / "go").touch()
    ended = [wait_until(lambda id=id: world.ended(id), what="the end") for id in ids]
    # A running task is not interrupted at once: it may finish first.
    assert ended[0].state in (State.DONE, State.CANCELLED) and ended[1].state is State.DONE
    assert not worker.has_ended() and world.check().lost == []


@pytest.mark.fault(47, quick=True)
@pytest.mark.parametrize("how", ["open transaction", "closed connection", "broken transaction", "leaked thread"])
def test_the_mess_of_one_task_does_not_disturb_the_next(world, how):
    # Given: one thread, so that the next task runs in the same one
    worker = world.worker("--threads=1")
    world.wait_for(world.call(tasks.look_around))

    # When
    id = world.call(tasks.leave_a_mess, how)
    mess = world.until(lambda: world.ended(id), 20, "the end of the mess")

    # Then
    found = world.value(world.wait_for(world.call(tasks.look_around)))
    assert found == {"path": '"$user", public', "clean": True, "in_transaction": False, "pid": worker.pid}
    is_lost = how in ("broken transaction", "open transaction")
    assert mess.state is (State.ERROR if is_lost else State.DONE)
    assert len(read.attempts(world.database, mess.id)) == is_lost


@pytest.mark.fault(47, quick=True)
def test_the_next_task_does_not_find_the_session_settings_of_another_one(world):
    """With CONN_MAX_AGE, which keeps sessions, it would, like the next request in Django."""
    world.max_age = 0
    world.worker("--threads=1")
    world.wait_for(world.call(tasks.leave_a_mess, "search path"))
    found = world.value(world.wait_for(world.call(tasks.look_around)))
    assert found["path"] == '"$user", public'


def test_a_canary_sings_when_it_is_unpickled(tmp_path):
    """Otherwise the tests above would prove nothing."""
    pickle.loads(pickle.dumps(tasks.Canary(str(tmp_path / "song"))))
    assert (tmp_path / "song").exists()
