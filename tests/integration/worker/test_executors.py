"""Tasks in executors of the project, and on a cluster of Dask."""

import os

import pytest

from autotask.task import CANCELLED, DONE, ERROR, WAITING, State
from autotask.worker import watch
from tests.helpers import ended, wait_until
from tests.integration.worker import stubborn, tasks
from tests.integration.worker.stubborn import began

pytestmark = pytest.mark.django_db(transaction=True)

POOL = "tests.integration.worker.stubborn.pool"


@pytest.fixture
def start_with_pool(start_worker, settings):
    """Start a worker that has an executor of two processes, which is handed two tasks at a time."""
    settings.AUTOTASK_EXECUTORS = {"pool": (POOL, 2)}
    return start_worker


def test_a_task_runs_in_the_executor_that_it_names(start_with_pool):
    start_with_pool()
    assert stubborn.process_of_the_pool().wait(30) != os.getpid()


def test_the_exception_of_a_task_in_an_executor_is_recorded_and_retried(start_with_pool):
    start_with_pool()
    handle = stubborn.fail_in_the_pool()
    assert ended(handle) is ERROR
    assert handle.error_message == "KeyError: 'gone'"
    assert [attempt.state for attempt in handle.failed_attempts] == [State.RETRY, State.ERROR]
    assert "in fail_in_the_pool" in handle.failed_attempts[0].traceback


def test_a_task_that_names_an_executor_waits_for_a_worker_that_has_it(start_worker, settings):
    # Given
    start_worker()
    handle = stubborn.process_of_the_pool()
    assert tasks.echo(1).wait(10) == 1
    assert handle.status is WAITING

    # When
    settings.AUTOTASK_EXECUTORS = {"pool": POOL}
    start_worker()

    # Then
    assert ended(handle) is DONE


def test_an_executor_is_handed_no_more_than_there_is_room_for_and_holds_up_nobody(start_with_pool, path):
    # Given
    start_with_pool()
    handles = stubborn.stay_in_the_pool.enqueue_many([(str(path), str(path.with_name("end")))] * 20)
    wait_until(lambda: began(path), 30)

    # Then
    try:
        assert tasks.echo(1).wait(10) == 1
        assert [handle.status for handle in handles].count(WAITING) == 18
    finally:
        path.with_name("end").touch()


def test_a_task_that_takes_too_long_in_an_executor_is_given_up_without_harm_to_the_worker(
    start_with_pool, path, monkeypatch
):
    # Given
    monkeypatch.setattr(watch, "STOP_WITHIN", 0.3)
    worker = start_with_pool()
    assert stubborn.process_of_the_pool().wait(30)

    # When
    handle = stubborn.nap_in_the_pool.using(timeout=0.3)(str(path), 3)

    # Then
    assert ended(handle) is ERROR
    assert handle.error_message == "timed out after 0.3 s"
    assert worker.exit_status == 0
    assert stubborn.process_of_the_pool().wait(30)
    assert worker.recorder.refused == 0


def test_a_task_that_waits_in_an_executor_is_cancelled(start_worker, settings, path):
    # Given: an executor that is handed more than it can run
    settings.AUTOTASK_EXECUTORS = {"pool": POOL}
    start_worker()
    handles = [stubborn.nap_in_the_pool(f"{path} {i}", 2) for i in range(10)]
    wait_until(lambda: all(handle.status != WAITING for handle in handles), 30)

    # When
    handles[-1].cancel()

    # Then
    assert ended(handles[-1]) is CANCELLED
    assert not stubborn.lines(path.with_name("lines 9"))


def test_an_executor_that_breaks_is_made_again(start_with_pool, path, settings):
    # Given
    settings.AUTOTASK_MAX_CRASHES = 2
    start_with_pool()

    # When
    handle = stubborn.kill_the_pool(str(path))

    # Then
    assert ended(handle) is ERROR
    assert handle.error_message.startswith("killed its process 2 times: BrokenProcessPool")
    assert stubborn.process_of_the_pool().wait(30)


def test_a_task_that_breaks_its_executor_again_and_again_takes_no_other_along(start_with_pool, path, settings):
    # Given
    settings.AUTOTASK_MAX_CRASHES = 2
    start_with_pool()
    # ProcessPoolExecutor may overlook the death of a process that it has only just started.
    warm, end = path.with_name("warm"), path.with_name("end")
    first = stubborn.stay_in_the_pool.enqueue_many([(str(warm), str(end))] * 2)
    wait_until(lambda: len(stubborn.lines(warm)) == 2, 30, "two processes")
    end.touch()
    assert [handle.wait(30) for handle in first] == ["stayed"] * 2
    innocent = stubborn.outlast_in_the_pool(str(path) + " of the innocent", str(path), 3.0)
    wait_until(lambda: began(path.with_name("lines of the innocent")), 30, "the start of the innocent one")

    # When
    poison = stubborn.kill_the_pool(str(path))

    # Then: after the first time, which the innocent one waits for, each of them runs alone
    assert ended(poison) is ERROR
    assert ended(innocent) is DONE
    assert [attempt.state for attempt in innocent.failed_attempts] == [State.LOST]


def test_an_executor_that_hands_on_a_system_exit_costs_only_its_own_task(start_worker, settings):
    # Given
    settings.AUTOTASK_EXECUTORS = {"pool": "tests.integration.worker.stubborn.leaving_pool"}
    settings.AUTOTASK_MAX_CRASHES = 1
    start_worker()

    # When
    handle = stubborn.process_of_the_pool()

    # Then
    assert ended(handle) is ERROR
    assert handle.error_message == "killed its process 1 times: SystemExit: 3"


def test_a_task_whose_executor_cannot_be_made_is_released(start_worker, settings, caplog):
    # Given
    settings.AUTOTASK_EXECUTORS = {"pool": "tests.integration.worker.stubborn.no_pool"}
    start_worker()

    # When
    handle = stubborn.process_of_the_pool()

    # Then
    wait_until(lambda: "the cluster cannot be reached" in caplog.text)
    wait_until(lambda: handle.status is WAITING)
    assert handle.attempts == 0
    assert tasks.echo(1).wait(10) == 1


# --- Dask -----------------------------------------------------------------------------------------------------------


def cluster_executor():
    """Return the executor of the cluster; see AUTOTASK_EXECUTORS."""
    distributed = pytest.importorskip("distributed")
    return distributed.Client(os.environ["DASK_SCHEDULER"], set_as_default=False).get_executor()


@pytest.fixture
def cluster(settings, monkeypatch):
    """A cluster of Dask with two processes."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, protocol="tcp"
    ) as cluster:
        monkeypatch.setenv("DASK_SCHEDULER", cluster.scheduler_address)
        settings.AUTOTASK_EXECUTORS = {"cluster": (f"{__name__}.cluster_executor", 4)}
        yield cluster


@pytest.mark.filterwarnings("default")
def test_tasks_run_on_a_cluster_of_dask(cluster, start_worker, path, settings):
    # Given
    settings.AUTOTASK_MAX_CRASHES = 1
    start_worker()

    # When
    handles = [stubborn.square_on_the_cluster(i) for i in range(20)]

    # Then
    results = [handle.wait(60) for handle in handles]
    assert [square for square, _ in results] == [i * i for i in range(20)]
    assert os.getpid() not in {pid for _, pid in results}

    # When
    failing = stubborn.fail_on_the_cluster()

    # Then
    assert ended(failing) is ERROR
    assert failing.attempts == 2
    assert failing.error_message == "KeyError: 'gone'"

    # When
    deadly = stubborn.kill_the_cluster(str(path))

    # Then
    assert ended(deadly, 60) is ERROR
    assert deadly.error_message.startswith("killed its process 1 times: KilledWorker")
    assert stubborn.square_on_the_cluster(5).wait(60)[0] == 25
