"""Arguments and results that are opened and sealed with settings that were read once."""

from datetime import UTC, datetime

import pytest

from autotask import payload
from autotask.exceptions import PayloadRefused, PayloadTooLarge
from autotask.task import ClaimedTask, new_id
from autotask.worker import sealing, surroundings
from autotask.worker.sealing import Sealing

NAME = "shop.tasks.send"


def signed(*args, id, **options):
    return payload.dump_arguments(args, {}, id=id, name=NAME, **options)


def claimed(payload=b"", *, id=None):
    now = datetime.now(UTC)
    return ClaimedTask(id or new_id(), 7, NAME, "default", 0, 1, 0, 0, 0, None, now, None, payload)


@pytest.mark.parametrize("options", [{}, {"tells": True}, {"carried": {"x": 1}}])
def test_arguments_of_all_kinds_are_opened(options):
    id = new_id()
    assert Sealing().load_arguments(claimed(signed(1, "two", id=id, **options), id=id)) == ((1, "two"), {})


@pytest.mark.parametrize("value", [None, 5, "text", [1, 2]])
def test_results_are_those_that_are_sealed_one_by_one(value):
    task = claimed()
    sealed = Sealing().dump_result(task, value)
    assert sealed == sealing.dump_result(task, value)
    assert payload.load_result(sealed, id=task.id, fence=task.fence) == value


@pytest.mark.parametrize("place", [3, 20, -1])
def test_altered_arguments_are_refused(place):
    # Given
    id = new_id()
    altered = bytearray(signed(1, id=id))
    altered[place] ^= 1

    # Then
    with pytest.raises(PayloadRefused):
        Sealing().load_arguments(claimed(bytes(altered), id=id))


def test_arguments_of_another_task_are_refused():
    envelope = signed(1, id=new_id())
    with pytest.raises(PayloadRefused):
        Sealing().load_arguments(claimed(envelope))


def test_an_older_key_is_accepted_while_it_is_listed(settings):
    # Given
    id = new_id()
    envelope = signed(1, id=id)
    former, settings.SECRET_KEY = settings.SECRET_KEY, "another"

    # Then
    with pytest.raises(PayloadRefused):
        Sealing().load_arguments(claimed(envelope, id=id))
    settings.SECRET_KEY_FALLBACKS = [former]
    assert Sealing().load_arguments(claimed(envelope, id=id)) == ((1,), {})


def test_a_large_result_is_refused(settings):
    settings.AUTOTASK_MAX_PAYLOAD = 10_000
    with pytest.raises(PayloadTooLarge):
        Sealing().dump_result(claimed(), "x" * 20_000)


def test_a_changed_setting_is_in_force_at_once(settings):
    # Given: a thread that has read the settings for many attempts
    here = surroundings.OfWorker()
    here.read_settings_now()
    task = claimed()
    assert here.dump_result(task, 5) == sealing.dump_result(task, 5)

    # When
    settings.SECRET_KEY = "another"

    # Then
    assert here.dump_result(task, 5) == sealing.dump_result(task, 5)
