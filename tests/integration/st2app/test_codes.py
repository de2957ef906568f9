"""Single requests and their answers, as the real server of django-simpletask2 gave them, or better where it was wrong."""

import json
import logging
import uuid
from types import SimpleNamespace

import pytest

from autotask.acts import keys
from autotask.handle import TaskHandle
from autotask.task import ERROR
from tests.helpers import ended
from tests.integration.st2app.conftest import KEY
from tests.integration.st2app.models import BoomTask, EchoTask, HelloTask, NoMain, NoStep2, PlainRow, ThreeTask

OK = {"code": 0, "message": "OK"}


# --- bodies and keys ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"aclkey=x", b"\xff\xfe", b"null", b"[]", b'"text"', b"5", b"{"])
def test_a_body_that_is_no_json_object(puller, body):
    assert puller.raw("get_a_task", body) == {
        "success": False,
        "result": None,
        "error": {"code": 2910001, "message": "please send request parameters in PAYLOAD format."},
    }


@pytest.mark.parametrize("method", ["POST", "PUT", "GET", "PATCH"])
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded"])
def test_any_method_and_content_type(puller, method, content_type):
    body = json.dumps({"aclkey": KEY, "channels": "nothing"})
    assert puller.raw("get_a_task", body, method, content_type) == {"success": True, "result": None, "error": OK}


@pytest.mark.parametrize("key", [{}, {"aclkey": ""}, {"aclkey": None}, {"aclkey": 0}])
@pytest.mark.parametrize("path", ["get_a_task", "do_task", "do_auto_reset", "nothing/here"])
def test_without_a_key(puller, key, path):
    answer = puller.raw(path, json.dumps(key))
    assert answer["error"] == {"code": 2910002, "message": "`aclkey` field is required."}


@pytest.mark.parametrize("key", ["wrong", KEY[:-1], KEY + "x", KEY.upper(), 5, True, [KEY], {"a": 1}, "ü€\ud800"])
def test_with_a_wrong_key(puller, key, monkeypatch):
    answer = puller.raw("do_task", json.dumps({"aclkey": key}))
    assert answer["error"] == {"code": 2910003, "message": "aclkey is wrong and access denied."}


def test_secret_key_is_never_the_key(puller, settings):
    for value in (settings.SECRET_KEY, settings.SECRET_KEY.encode()):
        settings.AUTOTASK_PULL_KEY = value
        answer = puller.raw("get_a_task", json.dumps({"aclkey": settings.SECRET_KEY}))
        assert answer["error"]["code"] == 2910003


def test_no_setting_is_no_key(puller, settings):
    settings.AUTOTASK_PULL_KEY = None
    assert puller.raw("get_a_task", json.dumps({"aclkey": "None"}))["error"]["code"] == 2910003


def test_the_key_of_django_simpletask2_is_understood_where_ours_is_not_set(puller, settings):
    del settings.AUTOTASK_PULL_KEY
    settings.DJANGO_SIMPLETASK2_ACLKEY = "former"
    assert puller.raw("get_a_task", json.dumps({"aclkey": "former", "channels": "x"}))["success"]
    settings.AUTOTASK_PULL_KEY = KEY
    assert puller.raw("get_a_task", json.dumps({"aclkey": "former", "channels": "x"}))["error"]["code"] == 2910003


def test_an_api_key_with_the_scope_pull(puller):
    good = keys.create("puller", ["pull"])
    other = keys.create("reader", ["read:*"])
    assert puller.raw("get_a_task", json.dumps({"aclkey": good.secret, "channels": "x"}))["success"]
    assert puller.raw("get_a_task", json.dumps({"aclkey": other.secret}))["error"]["code"] == 2910003
    keys.revoke("puller")
    keys.forget_recent()  # a process trusts a key for a second
    assert puller.raw("get_a_task", json.dumps({"aclkey": good.secret}))["error"]["code"] == 2910003


def test_wrong_keys_are_slowed_down_and_the_right_one_is_not(puller, settings, monkeypatch):
    slept = []
    # Only there: other threads of this process sleep, too.
    monkeypatch.setattr("autotask.api.simpletask2.keys.time", SimpleNamespace(sleep=slept.append))
    settings.AUTOTASK_API_WRONG_KEYS = 3
    for _ in range(5):
        assert puller.raw("get_a_task", b'{"aclkey": "guess"}')["error"]["code"] == 2910003
    assert len(slept) == 2
    assert puller.pull("nothing") is None
    assert len(slept) == 2


def test_the_key_is_in_no_row_no_log_and_no_handler(puller, worker, caplog, django_assert_num_queries):
    caplog.set_level(logging.DEBUG)
    row = EchoTask.objects.create()
    data = puller.step(row.task_info, extra=[1])["data"]
    assert data == {"task_info": row.task_info, "step": 1, "extra": [1]}
    stored = EchoTask.objects.get(pk=row.pk)
    assert KEY not in json.dumps(stored.result)
    assert KEY not in caplog.text


def test_an_address_that_is_not_there(puller):
    assert puller.post("nothing/here")["error"] == {"code": 2910000, "message": "there is no such address here."}


def test_a_stranger_learns_nothing_of_an_error_inside(puller, monkeypatch, caplog):
    monkeypatch.setattr("autotask.store.pull.take", lambda *args, **options: 1 / 0)
    assert puller.post("get_a_task")["error"] == {"code": 2910000, "message": "system error."}
    assert "ZeroDivisionError" in caplog.text
    assert KEY not in caplog.text


# --- which task -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [None, "", 0, []])
def test_without_a_task(puller, missing):
    assert puller.refused(missing) == (2910011, "`task_info` field is required.")


@pytest.mark.parametrize(
    "task_info",
    [
        "shop.hellotask:abc",
        5,
        "nope:1",
        "no.such.thing:1",
        "st2app.hellotask",
        "st2app.hellotask:",
        "st2app.hellotask:x",
        ":1",
        ["a"],
    ],
)
def test_what_is_no_task(puller, task_info):
    assert puller.refused(task_info) == (2910005, f"bad formatted task_info: {task_info}.")


@pytest.mark.parametrize("model", ["shop.hellotask", "st2app.nothing", "st2app.plainrow", "auth.user"])
def test_a_model_that_is_not_there_or_has_no_tasks(puller, model):
    assert puller.refused(f"{model}:1") == (2910006, f"simple task model {model} not exists.")


def test_a_row_that_is_gone(puller):
    PlainRow.objects.create()
    code, message = puller.refused("st2app.HelloTask:999999")
    assert code == 2910004
    assert message == "got an already deleted task st2app.HelloTask:999999, you may ignore this and continue."
    assert puller.refused(f"st2app.uuidtask:{uuid.uuid4()}")[0] == 2910004
    assert puller.refused("st2app.hellotask:99999999999999999999999")[0] in (2910004, 2910005)


@pytest.mark.parametrize("step", ["1", None, 1.0, True, [1]])
def test_a_step_that_is_no_number(puller, step):
    row = ThreeTask.objects.create()
    assert puller.refused(row.task_info, step)[0] == 2910001
    assert not ThreeTask.objects.get(pk=row.pk).lines


@pytest.mark.parametrize("channels", [5, {"a": 1}, [1], None])
def test_channels_that_are_no_names(puller, channels):
    assert puller.post("get_a_task", channels=channels)["error"]["code"] == 2910001


def test_channels_as_a_list(puller):
    row = HelloTask.objects.create(name="Ann")
    assert puller.post("get_a_task", channels=["other", "default"])["result"] == row.task_info


# --- steps ----------------------------------------------------------------------------------------------------------


def test_a_task_with_one_step(puller, worker):
    row = HelloTask.objects.create(name="Ann")
    answer = puller.post("do_task", task_info=row.task_info, step=1)
    assert answer == {
        "success": True,
        "result": {
            "continue_flag": False,
            "task_info": f"st2app.hellotask:{row.pk}",
            "next_step": 2,
            "data": "Hello, Ann. Nice to meet you!",
        },
        "error": OK,
    }
    row.refresh_from_db()
    assert (row.success, row.result, row.current_step) == (True, "Hello, Ann. Nice to meet you!", 1)
    assert row.done_time is not None


def test_the_step_is_1_if_none_is_given(puller, worker):
    row = HelloTask.objects.create(name="Bob")
    assert puller.post("do_task", task_info=row.task_info)["result"]["data"] == "Hello, Bob. Nice to meet you!"


def test_a_handler_that_raises(puller, worker):
    row = BoomTask.objects.create()
    assert puller.refused(row.task_info) == (
        2910009,
        f"task {row.task_info} calling do_task_main_step1 failed with error message: boom.",
    )
    row.refresh_from_db()
    assert (row.success, row.error_message) == (False, "ValueError: boom")
    assert puller.refused(row.task_info) == (2910015, f"task {row.task_info} already done, to do NOTHING.")


@pytest.mark.parametrize(("model", "step"), [(NoMain, 1), (NoStep2, 2)])
def test_a_handler_that_is_missing_ends_the_row(puller, worker, model, step):
    row = model.objects.create()
    for before in range(1, step):
        puller.step(row.task_info, before)
    name = model._meta.label_lower
    message = f"task handler is not implemented, task={name}, handler=do_task_main_step{step}."
    assert puller.refused(row.task_info, step) == (2910007, message)
    row.refresh_from_db()
    assert row.success is False
    assert row.done_time is not None


def test_a_result_that_is_no_json(puller, worker):
    for step in (1, 3):
        row = ThreeTask.objects.create(returns={str(step): "object"})
        for before in range(1, step):
            puller.step(row.task_info, before)
        code, message = puller.refused(row.task_info, step)
        assert code == 2910009
        assert "cannot be stored as JSON" in message
        assert ended(row.handle) == ERROR


@pytest.mark.parametrize("step", [2, 3, 0, -1, 4, 10**30])
def test_a_step_out_of_turn_changes_nothing(puller, step):
    row = ThreeTask.objects.create()
    code, message = puller.refused(row.task_info, step)
    assert code == 2910008
    assert message.endswith("you can NOT start it.")
    assert puller.pull() == row.task_info


@pytest.mark.parametrize(
    ("returned", "data"),
    [({"a": 1}, {"a": 1}), (None, {}), ("text", {"value": "text"}), ([1], {"value": [1]}), (False, {"value": False})],
)
def test_what_steps_return(puller, worker, returned, data):
    row = ThreeTask.objects.create(returns={"1": returned, "2": returned, "3": returned})
    answers = [puller.step(row.task_info, step) for step in (1, 2, 3)]
    assert [answer["data"] for answer in answers] == [data, data, returned]
    assert [answer["continue_flag"] for answer in answers] == [True, True, False]
    assert [answer["next_step"] for answer in answers] == [2, 3, 4]


def test_a_task_that_was_cancelled(puller):
    row = HelloTask.objects.create(name="Ann")
    TaskHandle(row.task_id).cancel()
    assert puller.refused(row.task_info)[0] == 2910015


def test_auto_reset_counts_by_model(puller):
    answer = puller.post("do_auto_reset")["result"]
    assert set(answer) == {"auto_reset", "remove_duplicate_items", "update_channel_queue_size"}
    assert answer["auto_reset"]["st2app.hellotask"] == 0
    assert answer["remove_duplicate_items"] == answer["update_channel_queue_size"] == {}
