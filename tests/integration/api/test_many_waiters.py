"""Many coroutines of a process wait, and a few of their tasks end."""

import asyncio

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from autotask import listener
from autotask.store.connection import current, execute
from autotask.task import State, new_id
from tests.integration.api.tasks import add

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("is_told", [True, False], ids=["notified", "by looking"])
def test_those_are_answered_whose_tasks_have_ended_or_are_gone(is_told):
    # Given
    handles = add.using(delay=3600).enqueue_many([(n,) for n in range(30)])
    gone = new_id()

    def end() -> None:
        for handle in handles[:25]:
            if not is_told:
                execute(current(), "UPDATE autotask_task SET awaited = false")
            handle.cancel()

    async def wait() -> tuple[list[State], object, int]:
        waiters = [asyncio.ensure_future(listener.ended(handle.id)) for handle in handles]
        missing = asyncio.ensure_future(listener.ended(gone))
        await asyncio.sleep(0.5)
        await sync_to_async(end)()
        found = await asyncio.wait_for(asyncio.gather(*waiters[:25]), 20)
        still = sum(not waiter.done() for waiter in waiters[25:])
        for waiter in waiters[25:]:
            waiter.cancel()
        return [task.state for task in found if task is not None], await missing, still

    # When
    states, missing, still = async_to_sync(wait)()

    # Then
    assert states == [State.CANCELLED] * 25
    assert missing is None
    assert still == 5
